"""Files of checkpoints that others may replace or write to while they are read.

A file is opened once, and all that is ever read of it comes from that descriptor: whoever renames another file over its
name changes nothing for the reader. It is read, so a file that is cut meanwhile is an error and no SIGBUS; only who
watches it asks for a mapping (`clip_core.checkpoint.mapping`). What was written to in place is told by its size and its
time of modification.
"""

from __future__ import annotations

import io
import math
import mmap
import os
import threading
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.switch import placed
from clip_core.checkpoint.tensors import Array, DType, Place, Shape, Tensor, empty, passing
from clip_core.errors import CheckpointError, CheckpointNotFoundError
from clip_core.regular_files import open_descriptor

Fingerprint: TypeAlias = tuple[int, ...]
"""Device, inode, size and time of modification of a file."""
_PIECE_BYTES = 2**30  # what one call of the system is asked for; Linux reads at most 2 GiB
_LARGEST_REUSED = 2**25  # bytes; glibc gives more back to the system at once, whoever is to have it next


class SourceFile:
    """A file that is read from one descriptor, which is closed when nothing refers to this object any more.

    Args:
        path: the file.

    Attributes:
        path: for messages; it is not opened again.
        place: where it lies in the midst of a save; mostly there.
        size: in bytes, when it was opened.
        fingerprint: of the file that was opened.

    Raises:
        CheckpointNotFoundError: no such file.
        CheckpointError: it cannot be opened, or is no regular file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.place = path, placed(path)
        try:
            self.descriptor = open_descriptor(self.place)
        except FileNotFoundError:
            raise CheckpointNotFoundError(f"{path}: no such file.") from None
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be opened: {error.strerror or error}.") from error
        weakref.finalize(self, os.close, self.descriptor)
        self._lock = threading.Lock()
        self._mapping: NDArray[np.uint8] | None = None
        found = os.fstat(self.descriptor)
        self.size = found.st_size
        self.fingerprint = _fingerprint(found)

    def read(self, offset: int, count: int) -> bytes:
        """The bytes at an offset, fewer only where the file ends."""
        return self._array(offset, max(0, min(count, self.size - offset))).tobytes()

    def stream(self) -> BinaryIO:
        """A stream of the file with a position of its own."""
        return io.BufferedReader(_Stream(self))

    def tensor(self, offset: int, dtype: DType, shape: Shape) -> Tensor:
        """The tensor whose bytes lie at ``offset``; reading it raises `CheckpointError` if the file was cut."""
        count = math.prod(shape) * dtype.itemsize

        def read() -> Array:
            return self._array(offset, count).view(dtype).reshape(shape)

        return Tensor(dtype, shape, read, fresh=True, place=Place(self, offset))

    def mapped_tensor(self, offset: int, dtype: DType, shape: Shape) -> Tensor:
        """The tensor whose bytes lie at ``offset``, in a private mapping of the file (`clip_core.checkpoint.mapping`).

        What is written to it does not reach the file. Every reading gives the same memory, which nothing else has.
        """
        if self._mapping is None:
            self._mapping = np.frombuffer(mmap.mmap(self.descriptor, self.size, access=mmap.ACCESS_COPY), np.uint8)
        part = self._mapping[offset : offset + math.prod(shape) * dtype.itemsize]
        return Tensor(dtype, shape, lambda: part.view(dtype).reshape(shape), fresh=True)

    def holds(self, address: int) -> bool:
        """Whether an address of memory lies in the mapping of the file."""
        start = 0 if self._mapping is None else self._mapping.ctypes.data
        return 0 <= address - start < self.size if start else False

    def is_changed(self) -> bool:
        """Whether the file that was opened has been written to since."""
        return _fingerprint(os.fstat(self.descriptor)) != self.fingerprint

    def check_unchanged(self) -> None:
        """Raises `CheckpointError` if the file that was opened has been written to since."""
        if self.is_changed():
            raise changed(self.path)

    def _array(self, offset: int, count: int) -> NDArray[np.uint8]:
        try:
            make = empty if count > _LARGEST_REUSED else passing
            content = make((count,), np.dtype(np.uint8))
        except MemoryError as error:
            raise CheckpointError(f"{self.path}: there is no memory for {count} bytes of it.") from error
        done = 0
        while done < count:
            try:
                got = self._read_into(content[done : done + _PIECE_BYTES].data, offset + done)
            except OSError as error:
                raise CheckpointError(f"{self.path}: cannot be read: {error.strerror}.") from error
            if not got:
                raise changed(self.path)
            done += got
        return content

    def _read_into(self, buffer: memoryview, offset: int) -> int:
        if hasattr(os, "preadv"):  # without the position of the descriptor, which threads and forks share
            return os.preadv(self.descriptor, [buffer], offset)
        with self._lock:
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            content = os.read(self.descriptor, len(buffer))
            buffer[: len(content)] = content
            return len(content)


class _Stream(io.RawIOBase):
    """A position in a `SourceFile`."""

    def __init__(self, source: SourceFile) -> None:
        self.source = source
        self.position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self.source.read(self.position, len(buffer))
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.source.size}[whence]
        if start + offset < 0:
            raise ValueError(f"a position before the beginning: {start + offset}")
        self.position = start + offset
        return self.position


class Fingerprints:
    """What lies under some names now, to be compared with what lies there later.

    Args:
        paths: of files that are opened and closed again after this, or that may be missing.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._taken = {path: _fingerprint_at(path) for path in paths}

    def add(self, sources: Iterable[SourceFile]) -> None:
        """Adds files that are open."""
        self._taken.update({source.place: source.fingerprint for source in sources})

    def changed(self) -> list[Path]:
        """Names under which another file lies, or one that was written to."""
        return [path for path, taken in self._taken.items() if _fingerprint_at(path) != taken]

    def check(self) -> None:
        """Raises `CheckpointError` if there are such names."""
        for path in self.changed():
            raise changed(path)


def changed(path: Path) -> CheckpointError:
    """The error that a file is not what it was when it was opened."""
    return CheckpointError(
        f"{path}: changed while it was read, so what was read of it may be of two checkpoints. "
        "Try again when nothing writes to it, or read a copy."
    )


def _fingerprint_at(path: Path) -> Fingerprint | None:
    try:
        return _fingerprint(os.stat(path))
    except OSError:
        return None


def _fingerprint(found: os.stat_result) -> Fingerprint:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
