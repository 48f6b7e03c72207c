"""Writing a whole checkpoint or nothing: beside its place first, then renamed into it."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clip_core.errors import CheckpointError, InputError


def check_destination(path: Path, *, is_file: bool, overwrite: bool) -> None:
    """Raises `InputError` where nothing may or can be written."""
    if is_file and path.is_dir():
        raise InputError(f"{path} is a directory; expected the name of a file to write, such as {path / 'model.pt'}.")
    if not is_file and path.is_file():
        raise InputError(f"{path} is a file; expected the name of a directory to write.")
    if path.exists() and not overwrite and (is_file or any(path.iterdir())):
        raise InputError(f"{path} is there already. Say --overwrite (overwrite=True) to replace it, or choose another.")


@contextmanager
def written_beside(path: Path, *, is_file: bool) -> Iterator[Path]:
    """A path beside ``path`` to write to; what is written there takes its place on leaving without an exception.

    What was there before is moved aside first and deleted last, so that a kill at any moment leaves the old checkpoint,
    the new one, or none under this name; never a part of one.
    """
    path = path.absolute()  # "." has no name to write beside
    path.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    temporary, old = (path.with_name(f".{path.name}.{mark}.{state}") for state in ("tmp", "old"))
    try:
        if not is_file:
            temporary.mkdir()
        yield temporary
        _sync(temporary)
        if path.is_dir() and not is_file:
            os.replace(path, old)
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: cannot be written: {error}") from error
    finally:
        _remove(temporary)
        if old.exists() and not path.exists():
            os.replace(old, path)
        _remove(old)


def _sync(path: Path) -> None:
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with open(file, "rb+") as opened:
                os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
