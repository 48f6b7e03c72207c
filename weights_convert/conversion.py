"""Converting a checkpoint from any format into another, one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from clip_core.checkpoint.leftovers import saving
from clip_core.checkpoint.saving import DEFAULT_MAX_SHARD_SIZE, parse_size
from clip_core.checkpoint.tensors import WEIGHT_DTYPES, Array, Tensor
from clip_core.errors import CheckpointError, InputError
from weights_convert.companions import completed
from weights_convert.company import check_whole
from weights_convert.comparison import lost_settings
from weights_convert.destination import check_destination, written_beside
from weights_convert.format import Format
from weights_convert.formats import FORMATS
from weights_convert.hashing import Manifest, weights_manifest
from weights_convert.known_models import GivenConfig
from weights_convert.model import Model
from weights_convert.opening import open_source
from weights_convert.outputs import check_outputs, choose_backends

Advance = Callable[[int], None]
Verify = Literal["none", "tensors", "outputs"]


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What a conversion did, or would do.

    Attributes:
        source, source_format, config_origin: what was read, and where its configuration came from.
        destination, destination_format: what was written.
        weights, parameters, bytes: how many, and their size in the destination's dtypes.
        dtypes: of the written weights.
        source_sha256, sha256: digest over the canonical tensors of the source and of the result; ``None`` in a dry run.
        verified: whether the result was read back and has that digest.
        output_differences: with ``verify="outputs"``, the backends that ran source and result, such as
            ``"torch-flax"``, and the largest absolute difference of each output.
        notes: what a person should know.
    """

    source: str
    source_format: str
    config_origin: str
    destination: str
    destination_format: str
    weights: int
    parameters: int
    bytes: int
    dtypes: tuple[str, ...]
    source_sha256: str | None = None
    sha256: str | None = None
    verified: bool = False
    output_differences: dict[str, dict[str, float]] | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return asdict(self)


def convert(
    source: str | PathLike[str],
    destination: str | PathLike[str],
    *,
    to: str,
    dtype: str = "keep",
    max_shard_size: int | str | None = None,
    config: GivenConfig | None = None,
    key: str | None = None,
    prefix: str | None = None,
    verify: Verify = "tensors",
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], Advance] | None = None,
) -> Conversion:
    """Converts a checkpoint, bit for bit unless a dtype is asked for.

    Args:
        source: a file, a directory or a name; its format is detected.
        destination: a directory, or for ``to="openai"`` a file.
        to: one of ``weights_convert.FORMATS``.
        dtype: ``"keep"``, or the dtype of every weight of the result, but for running statistics and counters
            (`WeightSpec.dtype_in`).
        max_shard_size: bytes or a text such as ``"2GB"``, for the three Hugging Face formats.
        config: for sources without a configuration: a configuration, a file, or the name of a known model.
        key, prefix: of several models in a file, the one under this key, or with this in front of its names.
        verify: ``"tensors"`` reads the result back and compares digests before it takes its place; ``"outputs"`` also
            runs the source in one installed framework and the result in another, on the same inputs. Where the dtype
            changes, the differences are what that costs, and none is too large.
        overwrite: whether to replace what is there.
        dry_run: opens and checks everything, writes nothing.
        progress: called with the bytes to come, gives a function that is told the bytes that are done.

    Raises:
        InputError: an option that is not possible, or a model that the target cannot express.
        CheckpointError: the source cannot be read (see `open_source`) or changed meanwhile, or the result was not what
            it should be.
    """
    target = _target(to, dtype, max_shard_size, verify)
    shard_bytes = parse_size(max_shard_size or DEFAULT_MAX_SHARD_SIZE)
    backends = choose_backends(()) if verify == "outputs" else ()
    path = check_destination(Path(destination), is_file=target.is_file, overwrite=overwrite)
    opened = open_source(source, config, key=key, prefix=prefix)
    check_whole(opened.model.files)
    files, notes = completed(opened.model.files, opened.model.config, opened.format.profile)
    model = replace(opened.model if dtype == "keep" else opened.model.cast(dtype), files=files)
    target.check(model)
    done = Conversion(
        source=str(opened.path),
        source_format=opened.format.name,
        config_origin=opened.config_origin,
        destination=str(destination),
        destination_format=to,
        weights=len(model.weights),
        parameters=sum(tensor.nbytes // tensor.dtype.itemsize for tensor in model.weights.values()),
        bytes=sum(tensor.nbytes for tensor in model.weights.values()),
        dtypes=tuple(sorted({tensor.dtype.name for tensor in model.weights.values()})),
        notes=(*opened.notes, *notes),
    )
    if dry_run:
        return done
    advance = progress(done.bytes * (2 if verify != "none" else 1)) if progress else lambda count: None
    before, after = Manifest(), Manifest()
    watched = replace(model, weights=_watched(opened.model.weights, model.weights, before, after, advance))
    place = written_beside(path, is_file=target.is_file, overwrite=overwrite)
    with saving(path.parent, path.name.__eq__), place as temporary:
        target.write(watched, temporary, shard_bytes)
        written = open_source(temporary).model
        done = replace(done, notes=(*done.notes, *after.notes(), *lost_settings(model, written)))
        if verify != "none":
            _check_written(temporary, written, after.digest(), advance)
            if verify == "outputs":
                differences = check_outputs(opened.model, written, backends, exact=dtype == "keep")
                done = replace(done, output_differences=differences)
        opened.check_unchanged()
    return replace(done, source_sha256=before.digest(), sha256=after.digest(), verified=verify != "none")


def _target(to: str, dtype: str, max_shard_size: int | str | None, verify: str) -> Format:
    if to not in FORMATS:
        raise InputError(f"to: expected one of {', '.join(FORMATS)}, got {to!r}.")
    if dtype not in ("keep", *WEIGHT_DTYPES):
        raise InputError(f"dtype: expected keep, {', '.join(WEIGHT_DTYPES)}, got {dtype!r}.")
    if verify not in ("none", "tensors", "outputs"):
        raise InputError(f"verify: expected none, tensors or outputs, got {verify!r}.")
    if max_shard_size is not None and not FORMATS[to].sharded:
        sharded = ", ".join(name for name, format_ in FORMATS.items() if format_.sharded)
        raise InputError(f"max_shard_size: {to} is written in one file; shards are for {sharded}.")
    return FORMATS[to]


def _watched(
    sources: Mapping[str, Tensor], results: Mapping[str, Tensor], before: Manifest, after: Manifest, advance: Advance
) -> dict[str, Tensor]:
    """The weights to write, entering themselves into the manifests when they are read."""

    def watch(name: str, source: Tensor, result: Tensor) -> Tensor:
        def read() -> Array:
            value = result.read()
            after.add(name, value)
            if source is result:
                before.lines[name] = after.lines[name]
            else:
                before.add(name, source.read())
            advance(result.nbytes)
            return value

        return Tensor(result.dtype, result.shape, read)

    return {name: watch(name, sources[name], result) for name, result in results.items()}


def _check_written(path: Path, written: Model, expected: str, advance: Advance) -> None:
    """Raises `CheckpointError` if the result, opened as anybody will, has other weights than were written."""
    got = weights_manifest(written.weights, advance).digest()
    if got != expected:
        raise CheckpointError(
            f"{path}: what was written reads back differently ({got} instead of {expected}); nothing was kept. "
            "The disk may be failing: try again elsewhere, and report it if it happens again."
        )
