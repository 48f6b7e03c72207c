"""From the shared weight table to the names and axis orders of another format, and back, by one table for both.

Reading inverts what `Names` says of writing, so the two directions cannot disagree.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from clip_core.checkpoint.tensors import Shape, Tensor, joined
from clip_core.errors import CheckpointFormatError, InputError
from clip_core.weights import AXES, COUNTER_DTYPE, WeightSpec, permutation
from weights_convert.names import LAYER, LAYER_IN_PATH, LAYER_SUFFIX, Names, Place, numbered

_SUFFIX_PATTERN = r"(?:_([1-9][0-9]{0,4}))?"
_LAYER_PATTERN = r"(0|[1-9][0-9]{0,4})"


def shared_names(names: Names, stored: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Stored tensors under their names and in the layout of the shared scheme.

    Returns:
        Those that `Names` have a place for, and the rest, by their stored names.

    Raises:
        CheckpointFormatError: a tensor has another number of axes than its place says.
    """
    patterns = _patterns(names)
    found: dict[str, Tensor] = {}
    rest: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        for pattern, members in patterns:
            match = pattern.fullmatch(name)
            if match:
                number = match[1] or "0" if pattern.groups else ""
                for spec, place in members:
                    found[spec.name.replace(LAYER, number)] = _to_shared(tensor, spec, place, name)
                break
        else:
            rest[name] = tensor
    return found, rest


def _patterns(names: Names) -> list[tuple[re.Pattern[str], list[tuple[WeightSpec, Place]]]]:
    by_name: defaultdict[str, list[tuple[WeightSpec, Place]]] = defaultdict(list)
    for spec in names.templates:
        place = names.place(spec)
        by_name[place.name].append((spec, place))
    return [(re.compile(_pattern(name)), members) for name, members in by_name.items()]


def _pattern(name: str) -> str:
    layer, suffix = re.escape(LAYER), re.escape(LAYER_SUFFIX)
    return re.escape(name).replace(layer, _LAYER_PATTERN).replace(suffix, _SUFFIX_PATTERN)


def _to_shared(tensor: Tensor, spec: WeightSpec, place: Place, stored_name: str) -> Tensor:
    shared = AXES[spec.kind]
    if spec.kind == "counter" and tensor.dtype.kind == "i":
        return tensor.reshaped(()).cast(np.dtype(COUNTER_DTYPE), stored_name)  # JAX has them of 32 bits
    if spec.kind == "scalar":
        return tensor.reshaped(()) if math.prod(tensor.shape) == 1 else tensor
    if place.part:
        index, count = place.part
        if not tensor.shape or tensor.shape[0] % count:
            raise CheckpointFormatError(f"{stored_name} {list(tensor.shape)}: expected {count} equal parts.")
        tensor = tensor.part(index, count)
    stored = (place.axes or shared).split()
    if len(tensor.shape) != len(stored):
        raise CheckpointFormatError(f"{stored_name} {list(tensor.shape)}: expected the axes {' '.join(stored)}.")
    pieces = _pieces(stored, shared)
    shape = tuple(math.prod(tensor.shape[stored.index(piece)] for piece in pieces[axis]) for axis in shared.split())
    in_order = " ".join(piece for axis in shared.split() for piece in pieces[axis])
    return tensor.permuted(permutation(" ".join(stored), in_order)).reshaped(shape)


def _pieces(stored: list[str], shared: str) -> dict[str, list[str]]:
    """The axes of the format that make up each axis of the table."""
    return {axis: [piece for piece in stored if piece.split("/")[0] == axis] for axis in shared.split()}


def foreign_names(
    names: Names,
    specs: Iterable[WeightSpec],
    weights: Mapping[str, Tensor],
    heads: Callable[[WeightSpec], int],
) -> dict[str, Tensor]:
    """Weights of the shared scheme under the names and in the layout of a format.

    Args:
        specs: the weights of the model.
        weights: name in the shared scheme to tensor.
        heads: attention heads of the tower that a weight belongs to, for formats that keep them as an axis.

    Raises:
        InputError: weights that the format fuses have different dtypes.
    """
    parts: defaultdict[str, list[tuple[int, Tensor]]] = defaultdict(list)
    for spec in specs:
        number = LAYER_IN_PATH.search(spec.path)
        place = names.place(replace(spec, path=LAYER_IN_PATH.sub(LAYER, spec.path)))
        name = numbered(place.name, int(number[0]) if number else 0)
        tensor = _to_foreign(weights[spec.name], spec, place, heads(spec))
        parts[name].append((place.part[0] if place.part else 0, tensor))
    return {
        name: _fused(name, [tensor for _, tensor in sorted(found, key=lambda numbered: numbered[0])])
        for name, found in parts.items()
    }


def _fused(name: str, parts: list[Tensor]) -> Tensor:
    if len({part.dtype for part in parts}) > 1:
        dtypes = ", ".join(part.dtype.name for part in parts)
        raise InputError(f"{name}: made of weights of different dtypes ({dtypes}). Choose one with dtype=.")
    return joined(parts) if len(parts) > 1 else parts[0]


def _to_foreign(tensor: Tensor, spec: WeightSpec, place: Place, heads: int) -> Tensor:
    shared, stored = AXES[spec.kind], (place.axes if place.axes is not None else AXES[spec.kind]).split()
    pieces = _pieces(stored, shared)
    split: list[str] = []
    shape: list[int] = []
    for axis, size in zip(shared.split(), tensor.shape, strict=True):
        split += pieces[axis]
        shape += _split_size(size, pieces[axis], heads)
    for axis in stored:
        if axis not in split:
            split.append(axis)
            shape.append(1)
    return tensor.reshaped(tuple(shape)).permuted(permutation(" ".join(split), " ".join(stored)))


def _split_size(size: int, pieces: list[str], heads: int) -> Shape:
    return (size,) if len(pieces) == 1 else (heads, size // heads)
