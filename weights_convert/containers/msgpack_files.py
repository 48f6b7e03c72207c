"""Flax's msgpack files: nested maps whose leaves are arrays.

The msgpack package reads keys, sizes and shapes, each from a small window of the file. Arrays it would copy, so they
are stepped over: an array is a byte range that is read when it is needed, and a file of any size needs the memory of
one array.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.tensors import WEIGHT_DTYPES, Array, DType, Shape, Tensor, contiguous, joined
from clip_core.errors import CheckpointFormatError
from weights_convert.containers.packages import require_package

_CHUNK_BYTES = 2**30  # larger arrays are written in chunks, since msgpack ends at 4 GiB
_CHUNKED = "__msgpack_chunked_array__"
_WINDOW = 4096  # of what is not an array: keys, sizes and shapes
_MAX_DEPTH = 32
_MAX_LEAVES = 100_000
_NDARRAY, _SCALAR = 1, 3
_DTYPES = {**WEIGHT_DTYPES, **{name: np.dtype(f"<{code}") for name, code in (("int32", "i4"), ("int64", "i8"))}}
_MAPS = {*range(0x80, 0x90), 0xDE, 0xDF}
_BYTES = {0xC4: 1, 0xC5: 2, 0xC6: 4}  # first byte to the width of the length that follows
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}


def read_msgpack(source: SourceFile) -> dict[str, Tensor]:
    """The arrays of a file by their path in the tree, joined with ``/``.

    Raises:
        MissingExtraError: msgpack is not installed.
        CheckpointFormatError: cut or corrupt, or holding what Flax does not write.
    """
    require_package("msgpack", f"{source.path}: a msgpack file, which")
    if not source.size:
        raise CheckpointFormatError(f"{source.path}: expected a msgpack file, got an empty one.")
    reader = _Reader(source)
    try:
        tree = reader.value(0)
    except IndexError:
        reader.refuse("it ends within its tree")
    if reader.position != source.size:
        reader.refuse(f"{source.size - reader.position} bytes follow its tree")
    if not isinstance(tree, dict):
        reader.refuse("its top is no map")
    tensors: dict[str, Tensor] = {}
    _flatten(tree, "", tensors, reader)
    return tensors


class _Reader:
    """Walks a file; arrays are remembered, not read."""

    def __init__(self, source: SourceFile) -> None:
        self.source, self.path = source, source.path
        self.position = 0
        self.leaves = 0

    def refuse(self, problem: str) -> NoReturn:
        raise CheckpointFormatError(
            f"{self.path}: not a whole msgpack file of Flax: {problem}. Fetch or save it again."
        )

    def next(self, method: str) -> Any:
        """What a method of msgpack's ``Unpacker`` makes of the bytes that come next."""
        import msgpack

        unpacker = msgpack.Unpacker(read_size=_WINDOW, max_buffer_size=_WINDOW)
        unpacker.feed(self.source.read(self.position, _WINDOW))
        try:
            value = getattr(unpacker, method)()
        except (msgpack.UnpackException, ValueError) as error:
            self.refuse(f"cut or malformed at {self.position} ({type(error).__name__} {error})")
        self.position += unpacker.tell()
        return value

    def byte(self) -> int:
        """The byte that comes next; raises `IndexError` at the end."""
        return self.source.read(self.position, 1)[0]

    def length(self, widths: Mapping[int, int]) -> int:
        """The length that follows the first byte."""
        start, width = self.position + 1, widths[self.byte()]
        self.position = start + width
        return int.from_bytes(self.source.read(start, width), "big")

    def value(self, depth: int) -> Any:
        """A map, an array as a tensor, or anything that is small."""
        self.leaves += 1
        if depth > _MAX_DEPTH or self.leaves > _MAX_LEAVES:
            self.refuse("its maps are nested too deep or hold too much")
        kind = self.byte()
        if kind in _MAPS:
            return self.map(self.next("read_map_header"), depth)
        if kind in _EXTENSIONS:
            return self.array(self.length(_EXTENSIONS))
        if 0xD4 <= kind <= 0xD8:  # extensions of 1, 2, 4, 8 and 16 bytes
            self.position += 1
            return self.array(1 << kind - 0xD4)
        return self.next("unpack")

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
        code = self.byte()
        self.position += 1
        end = self.position + count
        if code not in (_NDARRAY, _SCALAR) or end > self.source.size:
            self.refuse(f"an extension of type {code} and {count} bytes at {self.position}")
        parts, shape, name = self.next("read_array_header"), self.next("unpack"), self.next("unpack")
        if parts != 3 or self.byte() not in _BYTES:
            self.refuse(f"an array at {self.position} that is not shape, dtype and bytes")
        size = self.length(_BYTES)
        dtype, shape = self.checked_layout(name, shape, size)
        start, self.position = self.position, self.position + size
        if self.position != end:
            self.refuse(f"an array that ends at {self.position} instead of {end}")
        return self.source.tensor(start, dtype, shape)

    def checked_layout(self, name: Any, shape: Any, size: int) -> tuple[DType, Shape]:
        if not isinstance(name, str) or name not in _DTYPES:
            self.refuse(f"an array of the dtype {str(name)[:40]!r}")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 32:
            self.refuse("an array with a malformed shape")
        if math.prod(shape) * _DTYPES[name].itemsize != size:
            self.refuse(f"an array {shape} {name} that does not fill its {size} bytes")
        return _DTYPES[name], tuple(shape)


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
    import msgpack

    tree: dict[str, Any] = {}
    for name, tensor in tensors.items():
        *owners, leaf = name.split("/")
        place = tree
        for owner in owners:
            place = place.setdefault(owner, {})
        place[leaf] = tensor
    with open(path, "wb") as file:
        _write(file, msgpack.Packer(), tree)


def _write(file: BinaryIO, packer: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        value = _chunked(contiguous(value.read()))
    if isinstance(value, np.ndarray):
        _write_array(file, packer, value)
    elif isinstance(value, dict):
        file.write(packer.pack_map_header(len(value)))
        for key, item in value.items():
            file.write(packer.pack(key))
            _write(file, packer, item)
    else:
        file.write(packer.pack(value) if value is True else _size(value))


def _chunked(value: Array) -> Array | dict[str, Any]:
    """The array, or if it is too large for one extension, what Flax makes of it."""
    if value.nbytes <= _CHUNK_BYTES:
        return value
    flat, rows = value.reshape(-1), _CHUNK_BYTES // value.itemsize
    chunks = [flat[start : start + rows] for start in range(0, flat.size, rows)]
    return {_CHUNKED: True, "shape": _numbered(value.shape), "chunks": _numbered(chunks)}


def _numbered(values: Iterable[Any]) -> dict[str, Any]:
    return {str(number): value for number, value in enumerate(values)}


def _write_array(file: BinaryIO, packer: Any, value: Array) -> None:
    """An extension; the package packs it from a copy of its content only, so its two lengths are written here."""
    head = packer.pack_array_header(3) + packer.pack_array_header(value.ndim)
    head += (
        b"".join(map(_size, value.shape)) + packer.pack(value.dtype.name) + b"\xc6" + struct.pack(">I", value.nbytes)
    )
    file.write(b"\xc9" + struct.pack(">Ib", len(head) + value.nbytes, _NDARRAY) + head)
    file.write(value.reshape(-1).view(np.uint8).data)


def _size(value: int) -> bytes:
    """A size of an axis, always in one byte or in four, so that no version of the package changes a file."""
    return bytes([value]) if value < 128 else b"\xce" + struct.pack(">I", value)
