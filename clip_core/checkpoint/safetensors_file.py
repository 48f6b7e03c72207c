"""Reading and writing safetensors files with NumPy alone, one tensor at a time, bfloat16 included.

The format is a little-endian 64-bit header length, a JSON header and the tensors' bytes. The safetensors package reads
and writes whole files; here a tensor is read when it is asked for, and a file is written tensor by tensor, so that a
checkpoint never needs more memory than its largest tensor.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.pickled_tensors import OTHER_DTYPE_ADVICE
from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.tensors import Tensor
from clip_core.errors import CheckpointError, CheckpointFormatError

_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}
_MAX_HEADER_BYTES = 10_000_000  # a CLIP of 1000 layers has 3; JSON takes 25 times its size in memory
_MOST_DIGITS = 20  # of 64-bit sizes and offsets
_MOST_AXES = 32  # as many as NumPy 1 has


@dataclass(frozen=True)
class TensorEntry:
    """Where a tensor lies in a file: dtype, shape and byte range from the start of the file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    start: int
    stop: int


class SafetensorsFile(Mapping[str, NDArray[Any]]):
    """A safetensors file as a mapping from name to array, which is read when it is asked for.

    Args:
        file: its path, or the file if it is open already.

    Attributes:
        entries: dtype, shape and byte range of each tensor, in the order of the header.
        metadata: the header's string-to-string map.

    Raises:
        CheckpointNotFoundError: no such file.
        CheckpointFormatError: truncated, corrupt, overlapping or out-of-range tensors, unknown dtype.
    """

    def __init__(self, file: Path | SourceFile) -> None:
        self.source = file if isinstance(file, SourceFile) else SourceFile(file)
        self.path, size = self.source.path, self.source.size
        header, data_start = self._read_header(size)
        self.metadata = self._read_metadata(header)
        self.entries = {name: self._read_entry(name, entry, data_start, size) for name, entry in header.items()}
        self._check_coverage(data_start, size)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name, for which the file stays open."""
        return {name: self.source.tensor(at.start, at.dtype, at.shape) for name, at in self.entries.items()}

    def __getitem__(self, name: str) -> NDArray[Any]:
        entry = self.entries[name]
        return self.source.tensor(entry.start, entry.dtype, entry.shape).read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def _broken(self, problem: str) -> CheckpointFormatError:
        return CheckpointFormatError(f"{self.path}: not a whole safetensors file: {problem}. Fetch or save it again.")

    def _read_header(self, size: int) -> tuple[dict[str, Any], int]:
        if size < 8:
            raise self._broken(f"expected at least 8 bytes, got {size}")
        start = self.source.read(0, 8)
        if start == b"version ":
            raise self._broken("it is a Git LFS pointer to the file (run git lfs pull)")
        length = int.from_bytes(start, "little")
        if length > min(size - 8, _MAX_HEADER_BYTES):
            raise self._broken(
                f"its header claims {length} bytes, of {_MAX_HEADER_BYTES} at most; the file has {size - 8} after that"
            )
        try:
            header = json.loads(
                self.source.read(8, length), object_pairs_hook=self._without_duplicates, parse_int=self._bounded_int
            )
        except CheckpointFormatError:
            raise
        except (ValueError, RecursionError) as error:
            raise self._broken(f"its header is not JSON ({error})") from error
        if not isinstance(header, dict):
            raise self._broken("its header is not a JSON object")
        return header, 8 + length

    def _bounded_int(self, digits: str) -> int:
        """What `int` makes of digits, whose time and memory grow with the square of their number."""
        if len(digits) > _MOST_DIGITS:
            raise self._broken(f"its header has a number of {len(digits)} digits")
        return int(digits)

    def _without_duplicates(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = dict(pairs)
        if len(names) != len(pairs):
            raise self._broken("its header names a tensor twice")
        return names

    def _read_metadata(self, header: dict[str, Any]) -> dict[str, str]:
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise self._broken("__metadata__ is not a map from string to string")
        return metadata

    def _read_entry(self, name: str, entry: Any, data_start: int, size: int) -> TensorEntry:
        try:
            code, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        except (KeyError, TypeError, ValueError) as error:
            raise self._broken(f"the entry of {name!r} is malformed ({error!r})") from error
        dtype = _DTYPES.get(str(code))
        if dtype is None:
            raise CheckpointFormatError(
                f"{self.path}: {name!r}: expected a dtype of {', '.join(_DTYPES)}, got {str(code)[:40]!r}. "
                f"{OTHER_DTYPE_ADVICE}"
            )
        if len(shape) > _MOST_AXES:
            raise self._broken(f"{name!r} has {len(shape)} axes, more than {_MOST_AXES}")
        if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
            raise self._broken(f"the entry of {name!r} has a shape or an offset that is no natural number")
        if stop - start != math.prod(shape) * dtype.itemsize:
            raise self._broken(f"{name!r} {list(shape)} {dtype.name} does not fill its {stop - start} bytes")
        if data_start + stop > size:
            raise self._broken(f"{name!r} ends at byte {data_start + stop}, the file at {size}")
        return TensorEntry(dtype, shape, data_start + start, data_start + stop)

    def _check_coverage(self, data_start: int, size: int) -> None:
        position = data_start
        for entry in sorted(self.entries.values(), key=lambda entry: (entry.start, entry.stop)):
            if entry.start != position:
                raise self._broken(f"tensors overlap or leave a gap at byte {position}")
            position = entry.stop
        if position != size:
            raise self._broken(f"{size - position} bytes after the last tensor")


def write_safetensors(
    path: Path,
    layout: Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]],
    tensors: Iterable[tuple[str, NDArray[Any]]],
    metadata: Mapping[str, str],
) -> None:
    """Writes a safetensors file, one tensor at a time.

    Args:
        path: the file, overwritten.
        layout: dtype and shape of every tensor, in the order in which they are written.
        tensors: name and value, in the order of ``layout``.
        metadata: the header's string-to-string map; transformers 4 refuses a file without ``format``.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    position = 0
    for name, (dtype, shape) in layout.items():
        stop = position + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _CODES[dtype], "shape": list(shape), "data_offsets": [position, stop]}
        position = stop
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes, as the reference implementation does
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for (name, (dtype, shape)), (given, value) in zip(layout.items(), tensors, strict=True):
            if (given, value.dtype, value.shape) != (name, dtype, shape):
                raise CheckpointError(f"{path}: {name} changed while it was written.")
            file.write(np.asarray(value, order="C").reshape(-1).view(np.uint8).data)
