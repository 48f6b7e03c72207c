"""Reading JSON with a clear error, and writing one file, or several together, so that a kill cannot tear them."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from clip_core.errors import CheckpointError, CheckpointFormatError, CheckpointNotFoundError
from clip_core.regular_files import open_regular

_MAX_SMALL_BYTES = 30_000_000  # the largest tokenizer.json has 17; JSON takes up to 25 times its size in memory
JOURNAL = ".save_journal.json"
"""What a directory holds while a `FileSwitch` takes place in it."""


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointNotFoundError: no such file.
        CheckpointFormatError: not UTF-8, not JSON or not an object.
        CheckpointError: it cannot be opened, or is no regular file.
    """
    content = read_small(path)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointFormatError(f"{path}: expected JSON, got {error}. Fetch or write the file again.") from error
    if not isinstance(value, dict):
        raise CheckpointFormatError(f"{path}: expected a JSON object, got {type(value).__name__}.")
    return value


def read_small(path: Path, max_bytes: int = _MAX_SMALL_BYTES) -> bytes:
    """All of a small file.

    Raises:
        CheckpointNotFoundError: no such file.
        CheckpointFormatError: it has more bytes.
        CheckpointError: it cannot be opened, or is no regular file.
    """
    try:
        with open_regular(path) as file:
            content = file.read(max_bytes + 1)
    except FileNotFoundError:
        raise CheckpointNotFoundError(f"{path}: no such file. {_what_is_there(path.parent)}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if len(content) > max_bytes:
        raise CheckpointFormatError(f"{path}: expected at most {max_bytes} bytes, got more.")
    return content


def _what_is_there(directory: Path) -> str:
    if not directory.is_dir():
        return f"The directory {directory} does not exist either."
    names = sorted(entry.name for entry in directory.iterdir())
    return f"The directory holds: {', '.join(names[:12]) or 'nothing'}{' ...' if len(names) > 12 else ''}."


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on leaving without an exception its file is synced and renamed to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_text_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text so that readers see the old file or the new one, never a part."""
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class FileSwitch:
    """Files of one directory that are written beside and take their places together; others are removed with them.

    Leaving the ``with`` block without an exception writes a journal of the renames and removals, which is the moment of
    the switch, and then carries it out. If that is cut short, `finish_switch` does the rest.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.renames: dict[str, str] = {}
        self.removals: list[str] = []

    def write(self, name: str) -> Path:
        """The temporary path of a new file that will be ``name``."""
        temporary = _beside(self.directory / name)
        self.renames[temporary.name] = name
        return temporary

    def remove(self, names: Iterable[str]) -> None:
        """Has files removed, those that are there."""
        self.removals += names

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        try:
            if error_type is None:
                for temporary in self.renames:
                    _sync(self.directory / temporary)
                plan = {"renames": self.renames, "removals": self.removals}
                write_text_atomically(self.directory / JOURNAL, json.dumps(plan))
                finish_switch(self.directory)
        finally:
            if not (self.directory / JOURNAL).exists():
                for temporary in self.renames:
                    (self.directory / temporary).unlink(missing_ok=True)


def finish_switch(directory: Path) -> None:
    """Carries out what the journal of a directory says, if it has one; whatever of it is done already stays done.

    Raises:
        CheckpointFormatError: the journal is not one that `FileSwitch` writes.
    """
    path = directory / JOURNAL
    if not path.exists():
        return
    plan = read_json(path)
    renames, removals = plan.get("renames"), plan.get("removals")
    if not isinstance(renames, dict) or not isinstance(removals, list):
        raise CheckpointFormatError(f"{path}: expected 'renames' and 'removals'. Delete the file.")
    for name in (*renames, *renames.values(), *removals):
        plain = isinstance(name, str) and Path(name).name == name and name not in ("", "..")
        if not plain:  # a journal from elsewhere must not reach out of here
            raise CheckpointFormatError(
                f"{path}: expected file names of this directory, got {name!r}. Delete the file."
            )
    for temporary, name in renames.items():
        with suppress(FileNotFoundError):  # renamed before, or by another process that saw the journal
            os.replace(directory / temporary, directory / name)
    for name in removals:
        (directory / name).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
