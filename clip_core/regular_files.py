"""Opening files to read them, and nothing that only has the place of a file.

A pipe blocks whoever opens it until somebody writes, a device may never end, and opening one may act on it. So what is
to be read is looked at first, and once more when it is open, since a name may lead elsewhere by then.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

_OPENING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)  # of Unix, of Windows
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """A regular file, or one that a link leads to, open to read its bytes; never waits.

    Raises:
        OSError: as `open` raises it, and for a directory, a pipe, a socket or a device, before it is opened.
    """
    return os.fdopen(open_descriptor(path), "rb")


def open_descriptor(path: str | os.PathLike[str]) -> int:
    """A descriptor of a regular file, to read; raises as `open_regular`."""
    _check_regular(os.stat(path).st_mode)
    descriptor = os.open(path, _OPENING)
    try:
        _check_regular(os.fstat(descriptor).st_mode)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(f"expected a regular file, got {_KINDS.get(stat.S_IFMT(mode), 'something else')}")
