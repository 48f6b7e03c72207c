"""The files that weights lie in, whatever they are called: recognised by content, opened as named tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.safetensors_file import SafetensorsFile
from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.switch import is_placed, placed
from clip_core.checkpoint.tensors import Tensor
from clip_core.checkpoint.torch_file import read_torch_file
from clip_core.errors import CheckpointError, CheckpointFormatError, CheckpointNotFoundError
from weights_convert.containers.hdf5_files import read_hdf5
from weights_convert.containers.msgpack_files import read_msgpack

_PROTOCOLS_OF_PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors", ".h5", ".msgpack")
"""What names of files of weights end with, whatever else they are."""
_KERAS_SHARDS_SUFFIX = ".weights.json"


@dataclass(frozen=True, kw_only=True)
class Container:
    """What a weights file holds, before its names mean anything.

    Attributes:
        path: the file, or the index of shards.
        kind: ``safetensors``, ``torch``, ``torchscript``, ``hdf5`` or ``msgpack``.
        tensors: by their names in the file.
        metadata: of safetensors files.
        extra: files that travel inside a torch archive.
        sources: the files that the tensors are read from.
    """

    path: Path
    kind: str
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, bytes] = field(default_factory=dict)
    sources: Sequence[SourceFile] = ()


def open_container(path: Path) -> Container:
    """Opens a weights file, or all shards of an index.

    Raises:
        CheckpointNotFoundError: no such file, or a shard of the index is missing.
        CheckpointFormatError: no file of weights, or a broken one.
    """
    try:
        return _open_shards(path) if path.suffix == ".json" else _open_file(path)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error


def _open_file(path: Path) -> Container:
    source = SourceFile(path)
    head = source.read(0, 32)
    if head[4:9] == b"\0\0\0\0{":  # the length of a header can look like the beginning of a pickle
        return _open_safetensors(source)
    if head.startswith(b"PK\3\4") or head.startswith(_PROTOCOLS_OF_PICKLE):
        tensors, extra, is_script = read_torch_file(source)
        kind = "torchscript" if is_script else "torch"
        return Container(path=path, kind=kind, tensors=tensors, extra=extra, sources=[source])
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Container(path=path, kind="hdf5", tensors=read_hdf5(source), sources=[source])
    if head[8:9] == b"{":
        return _open_safetensors(source)
    if head[:1] and (0x80 < head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):
        return Container(path=path, kind="msgpack", tensors=read_msgpack(source), sources=[source])
    if head.startswith(b"version https://git"):
        raise CheckpointFormatError(f"{path}: a pointer of Git LFS, not the weights. Run `git lfs pull`.")
    raise CheckpointFormatError(
        f"{path}: expected weights (safetensors, torch, HDF5 or msgpack), got a file that begins with {head[:8]!r}."
    )


def _open_safetensors(source: SourceFile) -> Container:
    file = SafetensorsFile(source)
    return Container(
        path=source.path, kind="safetensors", tensors=file.tensors, metadata=file.metadata, sources=[source]
    )


def _open_shards(index: Path) -> Container:
    weight_map = read_json(placed(index)).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointFormatError(f"{index}: expected an index of shards, with a 'weight_map' from name to file.")
    of_layers = index.name.endswith(_KERAS_SHARDS_SUFFIX)  # Keras lists layers, which have files; others list weights
    files = [
        file
        for listed in weight_map.values()
        for file in (listed if of_layers and isinstance(listed, list) else [listed])
    ]
    outside = [file for file in files if not isinstance(file, str) or Path(file).name != file or "\\" in file]
    if outside:
        raise CheckpointFormatError(
            f"{index}: expected file names in the same directory, got {str(outside[0])[:100]!r}."
        )
    names = sorted(set(files))
    missing = [name for name in names if not is_placed(index.parent / name)]
    if missing or not names:
        raise CheckpointNotFoundError(f"{index} names shards that are not there: {', '.join(missing[:5]) or 'none'}.")
    shards = {name: _open_file(index.parent / name) for name in names}
    if len({shard.kind for shard in shards.values()}) > 1:
        raise CheckpointFormatError(f"{index}: its shards are files of different kinds.")
    tensors: dict[str, Tensor] = {}
    for name, shard in shards.items():
        twice = tensors.keys() & shard.tensors.keys()
        if twice:
            raise CheckpointFormatError(f"{index}: {min(twice)[:100]!r} is in {name} and in another shard.")
        tensors.update(shard.tensors)
    if not of_layers:
        _check_listed(index, weight_map, shards)
    first = shards[names[0]]
    sources = [source for shard in shards.values() for source in shard.sources]
    return Container(path=index, kind=first.kind, tensors=tensors, metadata=first.metadata, sources=sources)


def _check_listed(index: Path, weight_map: Mapping[str, str], shards: Mapping[str, Container]) -> None:
    # the index of transformers' TensorFlow shards has the name of the class in front, the shards do not
    listed = {
        (name if name in shards[file].tensors else name.partition("/")[2] or name, file)
        for name, file in weight_map.items()
    }
    held = {(name, file) for file, shard in shards.items() for name in shard.tensors}
    for name, file in sorted(listed ^ held):
        where = "the index only" if (name, file) in listed else "the file only"
        raise CheckpointFormatError(f"{index}: {name[:100]!r} of {file} is in {where}. Fetch or save the files again.")
