"""Writing a whole checkpoint or nothing: beside its place first, then renamed into it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import reduce
from operator import and_
from pathlib import Path

from clip_core.checkpoint.files import beside
from clip_core.errors import CheckpointError, InputError
from weights_convert.containers.opened import open_container
from weights_convert.formats import FORMATS
from weights_convert.opening import recognise
from weights_convert.wrapping import unwrapped

_SMALL = {
    name for format_ in FORMATS.values() for files in format_.files for name in (*format_.small_files, files.index)
}
_FOLDERS = {folder.as_posix() for name in _SMALL for folder in Path(name).parents}


def check_destination(path: Path, *, is_file: bool, overwrite: bool) -> Path:
    """The place to write to, links resolved; what a killed run moved aside is put back there first.

    Raises:
        InputError: nothing may or can be written there.
        CheckpointError: it cannot be looked at.
    """
    try:
        path = Path(os.path.realpath(path.expanduser()))
        _restore(path)
        if is_file and path.is_dir():
            raise InputError(f"{path} is a directory; expected the name of a file to write, such as {path}/model.pt.")
        if not is_file and path.is_file():
            raise InputError(f"{path} is a file; expected the name of a directory to write.")
        if path.exists() and (is_file or any(path.iterdir())):
            _check_replaceable(path, overwrite)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path}: cannot be written: {error}") from error
    return path


def _check_replaceable(path: Path, overwrite: bool) -> None:
    if not overwrite:
        raise InputError(f"{path} is there already. Say --overwrite (overwrite=True) to replace it, or choose another.")
    if not path.is_dir():
        _check_is_checkpoint_file(path)
        return
    entries = {entry.relative_to(path).as_posix(): entry for entry in path.rglob("*")}
    names = sorted(name for name, entry in entries.items() if not (name in _FOLDERS and entry.is_dir()))
    others = [name for name in names if not (_holds_weights(name) or name in _SMALL)]
    if others:
        shown = ", ".join(others[:5]) + (" ..." if len(others) > 5 else "")
        raise InputError(
            f"{path} holds more than a checkpoint ({shown}), and all of it would be replaced. "
            "Choose another directory, or move these away."
        )
    if not any(map(_holds_weights, names)):
        raise InputError(f"{path} holds no weights ({', '.join(names)}); is it a checkpoint? Choose another directory.")
    if Path.cwd().is_relative_to(path):
        raise InputError(f"{path} is the working directory, which cannot be replaced. Choose another, or go elsewhere.")


def _check_is_checkpoint_file(path: Path) -> None:
    try:
        recognise(unwrapped(open_container(path), None, None).container)
    except CheckpointError as error:
        raise InputError(
            f"{path} is not a known checkpoint, and nothing else is replaced. Choose another. {error}"
        ) from error


def _holds_weights(name: str) -> bool:
    """Whether a format has files of weights of this name."""
    return any(files.holds_weights(name) for format_ in FORMATS.values() for files in format_.files)


@contextmanager
def written_beside(path: Path, *, is_file: bool, overwrite: bool) -> Iterator[Path]:
    """A path beside ``path`` to write to; what is written there takes its place on leaving without an exception.

    What was there before is moved aside first and deleted last, so that a kill at any moment leaves the old checkpoint,
    the new one, or none under this name; never a part of one. An old one that was left aside is put back by
    `check_destination`.
    """
    mark = uuid.uuid4().hex[:8]
    temporary, old = (path.with_name(f".{path.name}.{mark}.{state}") for state in ("tmp", "old"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_file:
            temporary = beside(path)
        else:
            temporary.mkdir(mode=0o700 if path.exists() else 0o777)
        yield temporary
        _keep_modes(path, temporary)
        _sync(temporary)
        check_destination(path, is_file=is_file, overwrite=overwrite)  # once more: it took a while
        if path.is_dir() and not is_file:
            os.replace(path, old)
        os.replace(temporary, path)
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: cannot be written: {error}") from error
    finally:
        with suppress(OSError):  # what cannot be removed stays beside
            _remove(temporary)
        if old.exists() and not path.exists():
            os.replace(old, path)
        with suppress(OSError):
            _remove(old)


def _keep_modes(old: Path, new: Path) -> None:
    """Lets those read the new directory who can read the old one, and each file in it likewise.

    A file that the old directory does not have is for those who can read all that are there.
    """
    if not old.is_dir():
        return
    modes = {file.relative_to(old): stat.S_IMODE(file.stat().st_mode) for file in old.rglob("*") if file.is_file()}
    for file in new.rglob("*") if modes else ():
        if file.is_file():
            file.chmod(modes.get(file.relative_to(new), reduce(and_, modes.values())) & 0o777 | 0o600)
        else:
            file.chmod(stat.S_IMODE(old.stat().st_mode) & 0o777 | 0o700)
    new.chmod(stat.S_IMODE(old.stat().st_mode) | 0o700)


def _restore(path: Path) -> None:
    """Puts back what a run moved aside and, killed between two renames, neither replaced nor put back."""
    if not path.exists() and path.parent.is_dir():
        aside = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.old")
        for entry in sorted(path.parent.iterdir()):
            if aside.fullmatch(entry.name):
                os.replace(entry, path)
                return


def _sync(path: Path) -> None:
    for file in [path] if path.is_file() else path.rglob("*"):
        if file.is_file():
            with open(file, "rb+") as opened:
                os.fsync(opened.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    elif path.exists():
        path.unlink()
