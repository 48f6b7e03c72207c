"""From the shared weight table to the names and axis orders of another format, and back, by one table for both.

A format is a function that says where a weight of the shared table lies: under which name, in which order of axes, as
which part of a fused weight. Reading inverts that function, so the two directions cannot disagree.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from clip_core.checkpoint.tensors import Shape, Tensor, joined
from clip_core.config import CLIPConfig
from clip_core.errors import CheckpointFormatError, InputError
from clip_core.weights import AXES, WeightSpec, permutation, weight_specs

LAYER = "{i}"
"""Stands for the number of a layer in names."""
LAYER_SUFFIX = "{_i}"
"""Stands for the suffix that Keras gives to the layers of a list: nothing for the first, then ``_1``, ``_2``."""
_SUFFIX_PATTERN = r"(?:_([1-9][0-9]{0,4}))?"
_LAYER_PATTERN = r"(0|[1-9][0-9]{0,4})"
_LAYER_IN_NAME = re.compile(r"(?<=\.layers\.)[0-9]+(?=\.)")


@dataclass(frozen=True)
class Place:
    """Where a format keeps a weight.

    Attributes:
        name: with `LAYER` or `LAYER_SUFFIX` for the number of the layer.
        axes: the order of axes there; ``None`` for that of the table. ``out/head out/head_dim`` are two axes that the
            table has as one, and an axis that the table does not have is of size one.
        part: which of how many parts of a fused weight this is, along its first axis.
    """

    name: str
    axes: str | None = None
    part: tuple[int, int] | None = None


Scheme = Callable[[WeightSpec], Place | None]
"""Where a format keeps a weight, ``{i}`` standing for the layer; ``None`` if it has no place for it."""


def _templates() -> tuple[WeightSpec, ...]:
    one_layer: Any = {"num_hidden_layers": 1}
    specs = weight_specs(CLIPConfig(text_config=one_layer, vision_config=one_layer))
    return tuple(replace(spec, path=_LAYER_IN_NAME.sub(LAYER, spec.path)) for spec in specs)


TEMPLATES = _templates()
"""The weights of every model, those of the layers once."""


def shared_names(scheme: Scheme, stored: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Stored tensors under their names and in the layout of the shared scheme.

    Returns:
        Those that have a place in the scheme, and the rest, by their stored names.

    Raises:
        CheckpointFormatError: a tensor has another number of axes than its place says.
    """
    patterns = _patterns(scheme)
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


def _patterns(scheme: Scheme) -> list[tuple[re.Pattern[str], list[tuple[WeightSpec, Place]]]]:
    by_name: defaultdict[str, list[tuple[WeightSpec, Place]]] = defaultdict(list)
    for spec in TEMPLATES:
        place = scheme(spec)
        if place is not None:
            by_name[place.name].append((spec, place))
    return [(re.compile(_pattern(name)), members) for name, members in by_name.items()]


def _pattern(name: str) -> str:
    layer, suffix = re.escape(LAYER), re.escape(LAYER_SUFFIX)
    return re.escape(name).replace(layer, _LAYER_PATTERN).replace(suffix, _SUFFIX_PATTERN)


def _to_shared(tensor: Tensor, spec: WeightSpec, place: Place, stored_name: str) -> Tensor:
    shared = AXES[spec.kind]
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
    scheme: Scheme,
    specs: Iterable[WeightSpec],
    weights: Mapping[str, Tensor],
    heads: Callable[[WeightSpec], int] | None = None,
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
        number = _LAYER_IN_NAME.search(spec.path)
        place = scheme(replace(spec, path=_LAYER_IN_NAME.sub(LAYER, spec.path)))
        if place is None:
            raise InputError(f"{spec.name}: the format has no place for it.")
        name = _numbered(place.name, int(number[0]) if number else 0)
        tensor = _to_foreign(weights[spec.name], spec, place, heads(spec) if heads else 1)
        parts[name].append((place.part[0] if place.part else 0, tensor))
    return {name: _fused(name, [tensor for _, tensor in sorted(found, key=_first)]) for name, found in parts.items()}


def _first(numbered: tuple[int, Tensor]) -> int:
    return numbered[0]


def _numbered(name: str, number: int) -> str:
    return name.replace(LAYER, str(number)).replace(LAYER_SUFFIX, f"_{number}" if number else "")


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
