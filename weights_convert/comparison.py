"""Two checkpoints, weight by weight, whatever their formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from os import PathLike
from typing import Any

import numpy as np

from clip_core.checkpoint.tensors import Array, Tensor
from clip_core.config import CLIPTextConfig
from weights_convert.companions import preprocessor_of
from weights_convert.known_models import GivenConfig
from weights_convert.model import AnyConfig, Model, pools_at_largest_id
from weights_convert.opening import open_source

_ROWS_BYTES = 16_000_000


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two checkpoints differ.

    Attributes:
        formats: of the two.
        only_first, only_second: weights that the other does not have.
        shapes, dtypes: weights that have another one, with both.
        values: weights whose bits differ, with the largest absolute difference (NaN where one has NaN).
        config: settings that differ, with both values.
        identical: how many weights are the same bit for bit.
    """

    formats: tuple[str, str]
    only_first: list[str] = field(default_factory=list)
    only_second: list[str] = field(default_factory=list)
    shapes: dict[str, tuple[list[int], list[int]]] = field(default_factory=dict)
    dtypes: dict[str, tuple[str, str]] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    config: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    identical: int = 0

    @property
    def same_weights(self) -> bool:
        """Whether all weights are the same, bit for bit and in dtype."""
        return not (self.only_first or self.only_second or self.shapes or self.dtypes or self.values)

    @property
    def same(self) -> bool:
        """Whether weights and configuration are the same."""
        return self.same_weights and not self.config

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {**asdict(self), "same_weights": self.same_weights, "same": self.same}


def diff(
    first: str | PathLike[str],
    second: str | PathLike[str],
    *,
    config: GivenConfig | None = None,
    progress: Callable[[int], Callable[[int], None]] | None = None,
) -> Difference:
    """Compares two checkpoints; arguments and errors as for `open_source`. ``config`` serves both."""
    a, b = open_source(first, config), open_source(second, config)
    mine, theirs = a.model.weights, b.model.weights
    total = sum(tensor.nbytes for tensor in mine.values())
    advance = progress(total) if progress else None
    shapes: dict[str, tuple[list[int], list[int]]] = {}
    dtypes: dict[str, tuple[str, str]] = {}
    values: dict[str, float] = {}
    identical = 0
    for name in mine.keys() & theirs.keys():
        left, right = mine[name], theirs[name]
        if left.shape != right.shape:
            shapes[name] = (list(left.shape), list(right.shape))
        else:
            if left.dtype != right.dtype:
                dtypes[name] = (left.dtype.name, right.dtype.name)
            largest = _largest_difference(left, right)
            if largest is not None:
                values[name] = largest
            identical += largest is None and left.dtype == right.dtype
        if advance:
            advance(left.nbytes)
    a.check_unchanged()
    b.check_unchanged()
    return Difference(
        formats=(a.format.name, b.format.name),
        only_first=sorted(mine.keys() - theirs.keys()),
        only_second=sorted(theirs.keys() - mine.keys()),
        shapes=dict(sorted(shapes.items())),
        dtypes=dict(sorted(dtypes.items())),
        values=dict(sorted(values.items())),
        config=dict(_differing_settings(a.model.config.to_dict(), b.model.config.to_dict())),
        identical=identical,
    )


def _largest_difference(left: Tensor, right: Tensor) -> float | None:
    """The largest absolute difference of two tensors; ``None`` if they are equal, of one dtype bit for bit."""
    a, b = left.read().reshape(-1), right.read().reshape(-1)
    rows = max(1, _ROWS_BYTES // max(a.dtype.itemsize, b.dtype.itemsize))
    largest: float | None = None
    for start in range(0, a.size, rows):
        part = _difference(a[start : start + rows], b[start : start + rows])
        if part is not None:
            largest = part if largest is None else float(np.maximum(largest, part))  # NaN stays
    return largest


def _difference(a: Array, b: Array) -> float | None:
    same = np.array_equal(a.view(np.uint8), b.view(np.uint8)) if a.dtype == b.dtype else np.array_equal(a, b)
    if same:
        return None
    with np.errstate(invalid="ignore"):
        return float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64))))


def lost_settings(model: Model, written: Model) -> Iterator[str]:
    """A note on each setting of configuration and preprocessor that a model does not have any more once written."""
    config, found_config = model.config.to_dict(), written.config.to_dict()
    if _pool_alike(model.config, written.config):
        for described in (config, found_config):
            described.get("text_config", described).pop("eos_token_id")
    settings = {"configuration": (config, found_config)}
    given, found = preprocessor_of(model.files), preprocessor_of(written.files)
    if given is not None and found is not None:
        settings["preprocessor"] = (_spelt_out(given), _spelt_out(found))
    elif given is not None:
        yield "preprocessor: has no place in this format"
    for kind, (before, after) in settings.items():
        for name, (value, other) in _differing_settings(before, after):
            if value is not None and other is not None:  # otherwise a key that means nothing here
                yield f"{kind}: {name} {value!r} has no place in this format, where it is {other!r}"


def _pool_alike(first: AnyConfig, second: AnyConfig) -> bool:
    """Whether texts end at their largest id in both, however their configurations say so."""
    texts = [getattr(config, "text_config", config) for config in (first, second)]
    return all(isinstance(text, CLIPTextConfig) and pools_at_largest_id(text) for text in texts)


def _spelt_out(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a preprocessor with those that files leave out, the size as one, the normalisation as one."""
    size = ", ".join(f"{name} {pixels}" for name, pixels in sorted(options["size"].items()))
    return _normalisation_folded({"profile": "huggingface", "fill_color": 0, **options, "size": size})


def _normalisation_folded(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a preprocessor with rescaling and normalisation as one factor and one offset per channel."""
    if not (options["do_rescale"] and options["do_normalize"]):
        return options
    folded = {key: value for key, value in options.items() if key not in ("rescale_factor", "image_mean", "image_std")}
    folded["factor of pixels"] = [float(f"{options['rescale_factor'] / std:.6g}") for std in options["image_std"]]
    folded["offset"] = [
        float(f"{-mean / std:.6g}") for mean, std in zip(options["image_mean"], options["image_std"], strict=True)
    ]
    return folded


def _differing_settings(
    a: dict[str, Any], b: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Settings of the model that differ; what other programs keep beside them does not count."""
    notes = {"architectures", "dtype", "torch_dtype", "transformers_version", "_name_or_path"}
    for key in sorted((a.keys() | b.keys()) - notes):
        left, right = a.get(key), b.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            yield from _differing_settings(left, right, f"{prefix}{key}.")
        elif left != right:
            yield f"{prefix}{key}", (left, right)
