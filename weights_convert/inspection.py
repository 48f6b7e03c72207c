"""What a checkpoint is, without loading it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from weights_convert.hashing import weights_manifest
from weights_convert.known_models import GivenConfig
from weights_convert.opening import open_source


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """A checkpoint described.

    Attributes:
        path: the file of weights, or the index of its shards.
        format, title, container: what it is.
        config_origin: where the configuration came from.
        config: the configuration, as ``config.json`` has it.
        architecture: name of the PyTorch class in transformers.
        weights, parameters, bytes: how many, and their size.
        dtypes: how many weights have each dtype.
        files: preprocessor and tokenizer files that travel with the weights.
        sha256: digest over the canonical tensors; the same in every format.
        tensors: a line ``name dtype shape sha256`` per weight.
        nonfinite: how many values of a weight are NaN or infinite, where there are any.
        notes: what a person should know of it and of how it was read.
    """

    path: str
    format: str
    title: str
    container: str
    config_origin: str
    config: dict[str, Any]
    architecture: str
    weights: int
    parameters: int
    bytes: int
    dtypes: dict[str, int]
    files: tuple[str, ...]
    sha256: str
    tensors: tuple[str, ...]
    nonfinite: dict[str, int]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def inspect(
    path: str | PathLike[str],
    *,
    config: GivenConfig | None = None,
    key: str | None = None,
    prefix: str | None = None,
    progress: Callable[[int], Callable[[int], None]] | None = None,
) -> Inspection:
    """Describes a checkpoint of any format; arguments and errors as for `open_source`."""
    source = open_source(path, config, key=key, prefix=prefix)
    weights = source.model.weights
    total = sum(tensor.nbytes for tensor in weights.values())
    manifest = weights_manifest(weights, *([progress(total)] if progress else []))
    source.check_unchanged()
    return Inspection(
        path=str(source.path),
        format=source.format.name,
        title=source.format.title,
        container=source.kind,
        config_origin=source.config_origin,
        config=source.model.config.to_dict(),
        architecture=source.model.architecture,
        weights=len(weights),
        parameters=sum(tensor.nbytes // tensor.dtype.itemsize for tensor in weights.values()),
        bytes=total,
        dtypes=dict(Counter(tensor.dtype.name for tensor in weights.values())),
        files=tuple(source.model.files),
        sha256=manifest.digest(),
        tensors=tuple(line for _, line in sorted(manifest.lines.items())),
        nonfinite=manifest.nonfinite,
        notes=(*source.notes, *manifest.notes()),
    )
