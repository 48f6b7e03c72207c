"""Weights that lie in mappings of their files: which files may be mapped, and what is watched of them (decision 39).

A private mapping gives memory that is written to without changing the file, and costs neither time nor memory before a
page is touched. But it shows what others write to the file in place; and where they cut it short, it loses what was
written to the memory, too, and ends the process. So only files are mapped of which the kernel tells everything, and
which nobody is writing; and whoever computes with the memory asks `MappedFiles.check` first.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.tensors import DType, Tensor
from clip_core.errors import CheckpointError

_LOCAL = {
    *("bcachefs", "btrfs", "erofs", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "overlay", "ramfs", "squashfs"),
    *("tmpfs", "xfs", "zfs"),
}
"""File systems of this computer alone: of others, a change is told late and a lost connection ends the process."""
_RECENT_SECONDS = 2.0
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(rb"\\([0-7]{3})")
"""A space, a tab, a line break or a backslash, as this file has them in names, which are bytes."""


def can_be_mapped(source: SourceFile) -> bool:
    """Whether a file is on a disk of this computer, of a system that says so, and was not written to just now."""
    if not sys.platform.startswith("linux"):
        return False
    age = time.time() - source.fingerprint[-1] / 1e9
    return age > _RECENT_SECONDS and _file_system(source.place) in _LOCAL


def _file_system(path: Path) -> str:
    """The kind of the file system that a file lies on, ``""`` if that is not known."""
    real = os.fsencode(os.path.realpath(path))
    longest, kind = b"", b""
    try:
        lines = _MOUNTS.read_bytes().split(b"\n")
    except OSError:
        return ""
    for line in filter(None, lines):
        mounted, _, described = line.partition(b" - ")
        point = _ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), mounted.split(b" ")[4])
        inside = real == point or real.startswith(point.rstrip(b"/") + b"/")
        if inside and len(point) >= len(longest):  # of two mounts on one point, the later hides the other
            longest, kind = point, described.split(b" ")[0]
    return kind.decode("ascii", "replace")


def mapped(tensors: Mapping[str, Tensor], dtype: DType) -> tuple[dict[str, Tensor], MappedFiles]:
    """The tensors, those of a dtype in mappings of their files where that can be, and these files.

    What is not aligned in its file, shares its bytes with another tensor, or is no array of a file as it lies there, is
    read.
    """
    sources = {tensor.place.source for tensor in tensors.values() if tensor.place is not None}
    ends = {source: 0 for source in sources if can_be_mapped(source)}
    found, used = dict(tensors), set()
    placed = [(name, tensor, tensor.place) for name, tensor in tensors.items() if tensor.place is not None]
    for name, tensor, place in sorted(placed, key=lambda entry: entry[2].offset):
        if place.source not in ends or tensor.dtype != dtype or place.offset % dtype.alignment or not tensor.nbytes:
            continue
        if place.offset >= ends[place.source]:
            try:
                found[name] = place.source.mapped_tensor(place.offset, dtype, tensor.shape)
            except (OSError, ValueError):  # no such mappings here, or it was cut meanwhile, which reading it says
                del ends[place.source]
                continue
            ends[place.source] = place.offset + tensor.nbytes
            used.add(place.source)
    return found, MappedFiles(used)


class MappedFiles:
    """The files in which weights of a model lie.

    A copy, also one of another process, has none: the weights are copied with it.
    """

    def __init__(self, sources: Iterable[SourceFile] = ()) -> None:
        self.sources = tuple(sources)

    def __reduce__(self) -> Any:
        return MappedFiles, ()

    def holds(self, address: int) -> bool:
        """Whether an address of memory is one of a mapping."""
        return any(source.holds(address) for source in self.sources)

    def check(self) -> None:
        """Raises `CheckpointError` if something wrote to a file; what lies in memory may be half of another one."""
        for source in self.sources:
            if source.is_changed():
                raise CheckpointError(
                    f"{source.path}: written to in place while a model computes with it, or touched, so its weights "
                    "may not be those that were loaded. Load the model again. To replace a checkpoint in use, write "
                    "beside it and rename, as save_pretrained does; or load with disable_mmap=True, which reads it "
                    "into memory."
                )
