"""Reading torch files: zip archives, TorchScript, and the older stream of pickles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from clip_core.checkpoint.pickled_tensors import Storage, StridedTensor
from clip_core.checkpoint.restricted_pickle import ModuleAttributes, read_pickle
from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.tensors import Array, Tensor, row_major
from clip_core.checkpoint.zip_archive import ZipArchive
from clip_core.errors import CheckpointFormatError

_LEGACY_MAGIC = 119547037146038801333356
_LEGACY_PROTOCOL = 1001
_MAX_NAMES = 100_000
_MAX_DEPTH = 64
_MAX_EXTRA_BYTES = 64_000_000

EXTRA = "extra/"
"""Where torch keeps files that travel inside an archive; its readers skip what they do not know."""
Locate = Callable[[Storage], tuple[int, int]]
"""From a storage to its byte offset in the file and its size in bytes."""


def read_torch_file(source: SourceFile) -> tuple[dict[str, Tensor], dict[str, bytes], bool]:
    """The weights of a torch file, without running any of it.

    Returns:
        Tensors by name; the files that travel inside the archive; whether it is a TorchScript archive.

    Raises:
        CheckpointFormatError: the file is cut or corrupt, or asks for more than numbers, containers and tensors.
    """
    magic = source.read(0, 4)
    if magic == b"vers":
        raise CheckpointFormatError(f"{source.path}: a pointer of Git LFS, not the weights. Run `git lfs pull`.")
    if magic == b"PK\3\4":
        return _read_archive(source)
    value, locate = _read_legacy(source)
    return _named_tensors(value, source, locate), {}, False


def _read_archive(source: SourceFile) -> tuple[dict[str, Tensor], dict[str, bytes], bool]:
    path, archive = source.path, ZipArchive(source)
    if "byteorder" in archive.entries and archive.read("byteorder") != b"little":
        raise CheckpointFormatError(f"{path}: expected little-endian numbers. Save it again on a usual computer.")

    def locate(storage: Storage) -> tuple[int, int]:
        entry = archive.entries.get(f"data/{storage.key}")
        if entry is None:
            raise CheckpointFormatError(f"{path}: has no data for the storage {storage.key[:40]!r}. Fetch it again.")
        return entry.offset, entry.size

    value = _unpickled(archive)
    travelling = [name for name in archive.entries if name.startswith(EXTRA)]
    if sum(archive.entries[name].size for name in travelling) > _MAX_EXTRA_BYTES:
        raise CheckpointFormatError(f"{path}: more than {_MAX_EXTRA_BYTES} bytes travel inside beside the weights.")
    extra = {name.removeprefix(EXTRA): archive.read(name) for name in travelling}
    return _named_tensors(value, source, locate), extra, "constants.pkl" in archive.entries


def _unpickled(archive: ZipArchive) -> Any:
    if "data.pkl" not in archive.entries:
        raise CheckpointFormatError(f"{archive.path}: a zip archive, but not one of torch: it has no data.pkl.")
    stream = archive.source.stream()
    stream.seek(archive.entries["data.pkl"].offset)
    return read_pickle(stream, str(archive.path))


def _read_legacy(source: SourceFile) -> tuple[Any, Locate]:
    """The stream of torch before 1.6: five pickles, then each storage as its size and its bytes."""
    path, stream = source.path, source.stream()
    if read_pickle(stream, str(path)) != _LEGACY_MAGIC:
        raise CheckpointFormatError(
            f"{path}: a pickle, but not of torch. Save the model's state_dict with torch.save or as safetensors."
        )
    system = [read_pickle(stream, str(path)) for _ in range(2)]
    if system[0] != _LEGACY_PROTOCOL or not isinstance(system[1], dict) or not system[1].get("little_endian"):
        raise CheckpointFormatError(f"{path}: an unknown version of torch's stream, or big-endian numbers.")
    value = read_pickle(stream, str(path))
    keys = read_pickle(stream, str(path))
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointFormatError(f"{path}: its list of storages is malformed. Fetch it again.")
    return value, _LegacyStorages(source, keys, stream.tell())


class _LegacyStorages:
    """Finds storages in the stream: their sizes in bytes are known only from the tensors that use them."""

    def __init__(self, source: SourceFile, keys: list[str], start: int) -> None:
        self.source, self.path, self.keys, self.start = source, source.path, keys, start
        self.item_sizes: dict[str, int] = {}
        self.places: dict[str, tuple[int, int]] = {}

    def __call__(self, storage: Storage) -> tuple[int, int]:
        if not self.places:
            self.places.update(self._find_all())
        if storage.key not in self.places:
            raise CheckpointFormatError(
                f"{self.path}: has no data for the storage {storage.key[:40]!r}. Fetch it again."
            )
        return self.places[storage.key]

    def _find_all(self) -> Iterator[tuple[str, tuple[int, int]]]:
        position = self.start
        for key in self.keys:
            size = self._count(position) * self._item_size(key)
            yield key, (position + 8, size)
            position += 8 + size

    def learn(self, storage: Storage) -> None:
        """Remembers the size of the elements of a storage that a tensor uses."""
        self.item_sizes[storage.key] = storage.dtype.itemsize

    def _item_size(self, key: str) -> int:
        if key not in self.item_sizes:
            raise CheckpointFormatError(f"{self.path}: the storage {key[:40]!r} belongs to no tensor. Fetch it again.")
        return self.item_sizes[key]

    def _count(self, position: int) -> int:
        count = int.from_bytes(self.source.read(position, 8), "little")
        if position + 8 + count > self.source.size:
            raise CheckpointFormatError(f"{self.path}: cut: a storage of {count} elements begins at byte {position}.")
        return count


def _named_tensors(value: Any, source: SourceFile, locate: Locate) -> dict[str, Tensor]:
    """The tensors among what a file holds: a state dict, a training checkpoint around one, or a TorchScript module."""
    path = source.path
    found = list(_walk(value, path))
    if isinstance(locate, _LegacyStorages):
        for _, tensor in found:
            locate.learn(tensor.storage)
    located: dict[str, tuple[int, int]] = {}
    tensors = {}
    for name, tensor in found:
        if name in tensors:
            raise CheckpointFormatError(f"{path}: names the tensor {name[:100]!r} twice.")
        storage = tensor.storage
        if storage.key not in located:
            located[storage.key] = locate(storage)
        tensors[name] = _lazy(tensor, source, *located[storage.key])
    return tensors


def _walk(value: Any, path: Path) -> Iterator[tuple[str, StridedTensor]]:
    """Tensors with their dotted names, in order, however nested; bounded in number and depth."""
    visits = 0
    pending: list[tuple[str, Any, int]] = [("", value, 0)]
    while pending:
        name, value, depth = pending.pop()
        visits += 1
        if visits > _MAX_NAMES or depth > _MAX_DEPTH or len(name) > 1000:
            raise CheckpointFormatError(f"{path}: refused, since its containers are nested without end or too many.")
        if isinstance(value, StridedTensor):
            yield name, value
        items = value.attributes if isinstance(value, ModuleAttributes) else value
        if isinstance(items, dict):
            nested = [(f"{name}.{key}" if name else str(key), item, depth + 1) for key, item in items.items()]
            pending.extend(reversed(nested))


def _lazy(tensor: StridedTensor, source: SourceFile, start: int, size: int) -> Tensor:
    dtype, count = tensor.storage.dtype, tensor.storage.size
    if count * dtype.itemsize > size:
        raise CheckpointFormatError(f"{source.path}: cut: a storage of {count * dtype.itemsize} bytes has only {size}.")
    offset = start + tensor.offset * dtype.itemsize
    whole = tensor.strides == row_major(tensor.shape) or math.prod(tensor.shape) <= 1
    if whole and not tensor.negated:
        return source.tensor(offset, dtype, tensor.shape)
    last = sum((length - 1) * stride for length, stride in zip(tensor.shape, tensor.strides, strict=True))
    span = source.tensor(offset, dtype, (last + 1 if math.prod(tensor.shape) else 0,))

    def read() -> Array:
        strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
        value: Array = np.negative(span.read()) if tensor.negated else span.read()
        return np.lib.stride_tricks.as_strided(value, tensor.shape, strides, writeable=False)

    return Tensor(dtype, tensor.shape, read)
