"""Temporary files of saves that were killed: the next save removes them, but for those of a save that runs now.

While a save runs it holds a shared lock on the directory, which ends with the process however that ends. Who gets the
exclusive lock is alone, and whatever temporary files there are belong to nobody. Where the file system or the system
has no such locks, they are left.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

_TEMPORARY = re.compile(r"\.(.+)\.[0-9a-f]{8}\.(tmp|old)")
_ATTEMPTS, _PAUSE = 50, 0.02  # seconds: for the lock of who is removing; somebody else's is not waited for


@contextmanager
def saving(directory: Path, is_saved: Callable[[str], bool]) -> Iterator[None]:
    """Keeps temporary files of the code inside from being taken for leftovers, after it has removed what are some.

    Args:
        directory: where these files are; if it is not there, nothing is done.
        is_saved: whether this kind of save writes a file or a directory of that name, beside which it has others.
    """
    descriptor = None
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        if fcntl is not None and descriptor is not None:
            if _locked(descriptor, fcntl.LOCK_EX):
                with suppress(OSError):  # what cannot be removed stays
                    _remove_leftovers(directory, is_saved)
            for _ in range(_ATTEMPTS):
                if _locked(descriptor, fcntl.LOCK_SH):
                    break
                time.sleep(_PAUSE)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def alone(file: Path) -> Iterator[bool]:
    """Waits until no other process is in here with the same file, which is made if it is not there.

    Yields:
        Whether that is so; a system without such locks lets everybody in.

    Raises:
        OSError: the file cannot be written, or not be locked.
    """
    with open(file, "a") as lock:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield fcntl is not None


def _locked(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_leftovers(directory: Path, is_saved: Callable[[str], bool]) -> None:
    for entry in directory.iterdir():
        match = _TEMPORARY.fullmatch(entry.name)
        if match is None or not is_saved(match[1]):
            continue
        if match[2] == "old" and not (directory / match[1]).exists():
            continue  # what a killed run moved aside may be all that there is
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink(missing_ok=True)
