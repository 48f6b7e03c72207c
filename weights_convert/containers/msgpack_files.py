"""Flax's msgpack files: nested maps whose leaves are arrays.

The msgpack package builds the whole tree in memory. Here only the maps are read: an array is a byte range that is
mapped when it is needed, so that a file of any size needs the memory of one array. Of msgpack, this is the small part
that ``flax.serialization`` writes.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from clip_core.checkpoint.tensors import WEIGHT_DTYPES, DType, Shape, Tensor, contiguous, joined, mapped
from clip_core.errors import CheckpointFormatError

_CHUNK_BYTES = 2**30  # larger arrays are written in chunks, since msgpack ends at 4 GiB
_CHUNKED = "__msgpack_chunked_array__"
_MAX_DEPTH = 32
_MAX_LEAVES = 100_000
_NDARRAY, _SCALAR = 1, 3
_DTYPES = {**WEIGHT_DTYPES, **{name: np.dtype(f"<{code}") for name, code in (("int32", "i4"), ("int64", "i8"))}}


def read_msgpack(path: Path) -> dict[str, Tensor]:
    """The arrays of a file by their path in the tree, joined with ``/``.

    Raises:
        CheckpointFormatError: cut or corrupt, or holding what Flax does not write.
    """
    with open(path, "rb") as file:
        if not file.seek(0, 2):
            raise CheckpointFormatError(f"{path}: expected a msgpack file, got an empty one.")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            reader = _Reader(path, view)
            try:
                tree = reader.value(0)
            except (struct.error, IndexError, UnicodeDecodeError) as error:
                reader.refuse(f"cut or malformed ({error})")
            if reader.position != len(view):
                reader.refuse(f"{len(view) - reader.position} bytes follow its tree")
    if not isinstance(tree, dict):
        reader.refuse("its top is no map")
    tensors: dict[str, Tensor] = {}
    _flatten(tree, "", tensors, reader)
    return tensors


class _Reader:
    """Walks a file; arrays are remembered, not read."""

    def __init__(self, path: Path, view: mmap.mmap) -> None:
        self.path, self.view = path, view
        self.position = 0
        self.leaves = 0

    def refuse(self, problem: str) -> NoReturn:
        raise CheckpointFormatError(
            f"{self.path}: not a whole msgpack file of Flax: {problem}. Fetch or save it again."
        )

    def take(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self.view, self.position)
        self.position += struct.calcsize(layout)
        return value

    def skip(self, count: int) -> int:
        """Moves on; the position before."""
        start = self.position
        if count > len(self.view) - start:
            self.refuse(f"{count} bytes at {start} reach beyond its end")
        self.position += count
        return start

    def text(self, count: int) -> str:
        start = self.skip(count)
        if count > 10_000:
            self.refuse(f"a text of {count} bytes at {start}")
        return self.view[start : start + count].decode()

    def value(self, depth: int) -> Any:
        self.leaves += 1
        if depth > _MAX_DEPTH or self.leaves > _MAX_LEAVES:
            self.refuse("its maps are nested too deep or hold too much")
        kind = self.take(">B")
        if kind <= 0x7F or kind >= 0xE0:
            return kind if kind <= 0x7F else kind - 256
        if kind <= 0x8F:
            return self.map(kind & 0x0F, depth)
        if 0xA0 <= kind <= 0xBF:
            return self.text(kind & 0x1F)
        if 0x90 <= kind <= 0x9F:
            return [self.value(depth + 1) for _ in range(kind & 0x0F)]
        if kind in _PLAIN:
            return _PLAIN[kind]
        if kind in _NUMBERS:
            return self.take(_NUMBERS[kind])
        if kind in _TEXTS:
            return self.text(self.take(_TEXTS[kind]))
        if kind in _BYTES:
            return self.text(self.take(_BYTES[kind]))
        if kind in _MAPS:
            return self.map(self.take(_MAPS[kind]), depth)
        if kind in _EXTENSIONS:
            size = _EXTENSIONS[kind]
            return self.array(self.take(size) if isinstance(size, str) else size)
        return self.refuse(f"the byte 0x{kind:02x} at {self.position - 1}")

    def map(self, count: int, depth: int) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if not isinstance(key, str | int) or key in found:
                self.refuse(f"a key at {self.position} that is no name or occurs twice")
            found[key] = self.value(depth + 1)
        return found

    def array(self, count: int) -> Tensor:
        """An extension: shape, dtype name and bytes, packed once more."""
        code = self.take(">b")
        end = self.position + count
        if code not in (_NDARRAY, _SCALAR) or end > len(self.view):
            self.refuse(f"an extension of type {code} and {count} bytes at {self.position}")
        if self.take(">B") != 0x93:
            self.refuse(f"an array at {self.position} without shape, dtype and bytes")
        shape, name = self.value(_MAX_DEPTH - 1), self.value(_MAX_DEPTH - 1)
        kind = self.take(">B")
        if kind not in _BYTES:
            self.refuse(f"an array at {self.position} without bytes")
        size = self.take(_BYTES[kind])
        start = self.skip(size)
        dtype, shape = self.checked_layout(name, shape, size)
        if self.position != end:
            self.refuse(f"an array that ends at {self.position} instead of {end}")
        return mapped(self.path, start, dtype, shape)

    def checked_layout(self, name: Any, shape: Any, size: int) -> tuple[DType, Shape]:
        if not isinstance(name, str) or name not in _DTYPES:
            self.refuse(f"an array of the dtype {str(name)[:40]!r}")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
            self.refuse("an array with a malformed shape")
        if math.prod(shape) * _DTYPES[name].itemsize != size:
            self.refuse(f"an array {shape} {name} that does not fill its {size} bytes")
        return _DTYPES[name], tuple(shape)


_PLAIN = {0xC0: None, 0xC2: False, 0xC3: True}
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
_TEXTS = {0xD9: ">B", 0xDA: ">H", 0xDB: ">I"}
_BYTES = {0xC4: ">B", 0xC5: ">H", 0xC6: ">I"}
_MAPS = {0xDE: ">H", 0xDF: ">I"}
_EXTENSIONS: dict[int, int | str] = {
    0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16, 0xC7: ">B", 0xC8: ">H", 0xC9: ">I",
}  # fmt: skip


def _flatten(tree: Mapping[Any, Any], prefix: str, tensors: dict[str, Tensor], reader: _Reader) -> None:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and _CHUNKED in value:
            tensors[name] = _unchunked(value, reader)
        elif isinstance(value, dict):
            _flatten(value, f"{name}/", tensors, reader)
        elif isinstance(value, Tensor):
            tensors[name] = value
        else:
            reader.refuse(f"{name[:100]!r} is a {type(value).__name__}, no array")


def _unchunked(data: Mapping[str, Any], reader: _Reader) -> Tensor:
    """An array larger than 1 GiB, which Flax writes as a map of numbered flat pieces."""
    try:
        shape = tuple(data["shape"][str(axis)] for axis in range(len(data["shape"])))
        chunks = [data["chunks"][str(number)] for number in range(len(data["chunks"]))]
    except (KeyError, TypeError):
        reader.refuse("an array in chunks that are not numbered")
    if not chunks or not all(isinstance(chunk, Tensor) and len(chunk.shape) == 1 for chunk in chunks):
        reader.refuse("an array in chunks that are no flat arrays")
    if not all(type(n) is int and n >= 0 for n in shape) or len({chunk.dtype for chunk in chunks}) > 1:
        reader.refuse("an array in chunks with a malformed shape or several dtypes")
    whole = joined(chunks)
    if math.prod(shape) != whole.shape[0]:
        reader.refuse(f"an array {list(shape)} in chunks of {whole.shape[0]} elements")
    return whole.reshaped(shape)


def write_msgpack(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes arrays, named by their ``/``-joined paths, as ``flax.serialization.to_bytes`` does; one at a time."""
    with open(path, "wb") as file:
        _write_tree(file, _nested(tensors))


def _nested(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *owners, leaf = name.split("/")
        place = tree
        for owner in owners:
            place = place.setdefault(owner, {})
        place[leaf] = tensor
    return tree


def _write_tree(file: BinaryIO, tree: Mapping[str, Any]) -> None:
    file.write(_map_head(len(tree)))
    for key, value in tree.items():
        file.write(_text(key))
        if isinstance(value, Tensor):
            _write_tensor(file, value)
        else:
            _write_tree(file, value)


def _write_tensor(file: BinaryIO, tensor: Tensor) -> None:
    flat = contiguous(tensor.read()).reshape(-1)
    if tensor.nbytes <= _CHUNK_BYTES:
        _write_array(file, flat.view(np.uint8).data, tensor.shape, tensor.dtype)
        return
    rows = _CHUNK_BYTES // tensor.dtype.itemsize
    chunks = [flat[start : start + rows] for start in range(0, flat.size, rows)]
    file.write(_map_head(3) + _text(_CHUNKED) + b"\xc3" + _text("shape") + _map_head(len(tensor.shape)))
    for axis, size in enumerate(tensor.shape):
        file.write(_text(str(axis)) + _natural(size))
    file.write(_text("chunks") + _map_head(len(chunks)))
    for number, chunk in enumerate(chunks):
        file.write(_text(str(number)))
        _write_array(file, chunk.view(np.uint8).data, chunk.shape, tensor.dtype)


def _write_array(file: BinaryIO, content: memoryview, shape: Iterable[int], dtype: DType) -> None:
    sizes = list(shape)
    head = bytes([0x93, 0x90 | len(sizes)]) + b"".join(map(_natural, sizes)) + _text(dtype.name)
    head += b"\xc6" + struct.pack(">I", content.nbytes)
    file.write(b"\xc9" + struct.pack(">Ib", len(head) + content.nbytes, _NDARRAY) + head)
    file.write(content)


def _map_head(count: int) -> bytes:
    return bytes([0x80 | count]) if count < 16 else b"\xde" + struct.pack(">H", count)


def _text(text: str) -> bytes:
    encoded = text.encode()
    head = bytes([0xA0 | len(encoded)]) if len(encoded) < 32 else b"\xd9" + struct.pack(">B", len(encoded))
    return head + encoded


def _natural(value: int) -> bytes:
    return bytes([value]) if value < 128 else b"\xce" + struct.pack(">I", value)
