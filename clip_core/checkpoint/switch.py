"""Files of a checkpoint that take their places at one moment, through a journal (decisions 4 and 19).

A save writes its files beside, then a journal that says what each of them becomes: that is the moment of the switch.
Who reads the directory before all have their places takes each file from where it lies, and writes nothing; the next
save finishes what is left.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from clip_core.checkpoint.files import beside, read_json, sync, write_text_atomically
from clip_core.checkpoint.leftovers import saving
from clip_core.errors import CheckpointFormatError

JOURNAL = ".save_journal.json"
"""What a directory holds while a `FileSwitch` takes place in it."""
_MARK = "triclip-save-1"
_SAVED_NAME = re.compile(
    r"config\.json|model\.safetensors(\.index\.json)?|model(-a)?-[0-9]{5,9}-of-[0-9]{5,9}\.safetensors"
)
_DIGEST = re.compile("[0-9a-f]{64}")


def is_saved_name(name: str) -> bool:
    """Whether a save gives this name to a file: the configuration, the weights, a shard of them or their index."""
    return _SAVED_NAME.fullmatch(name) is not None


class FileSwitch:
    """Files of one directory that are written beside and take their places together; others are removed with them.

    Leaving the ``with`` block without an exception writes a journal of the renames and removals, which is the moment of
    the switch, and then carries it out. If that is cut short, `placed` finds the files and `finish_switch` does the
    rest. All names are such as `is_saved_name` knows.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.renames: dict[str, str] = {}
        self.removals: list[str] = []
        self._saving = saving(directory, lambda name: name == JOURNAL or is_saved_name(name))

    def write(self, name: str) -> Path:
        """The temporary file of a new file that will be ``name``; nobody may read it who may not read the old ones."""
        old = [file for file in self.directory.iterdir() if is_saved_name(file.name)]
        temporary = beside(self.directory / name, like=old)
        self.renames[temporary.name] = name
        return temporary

    def remove(self, names: Iterable[str]) -> None:
        """Has files removed, those that are there."""
        self.removals += names

    def __enter__(self) -> Self:
        self._saving.__enter__()
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        try:
            if error_type is None:
                for temporary in self.renames:
                    sync(self.directory / temporary)
                digests = {name: _sha256(self.directory / temporary) for temporary, name in self.renames.items()}
                plan = {"journal": _MARK, "renames": self.renames, "sha256": digests, "removals": self.removals}
                write_text_atomically(self.directory / JOURNAL, json.dumps(plan))
                _carry_out(self.directory, self.renames, self.removals)
        finally:
            if not (self.directory / JOURNAL).exists():
                for temporary in self.renames:
                    (self.directory / temporary).unlink(missing_ok=True)
            self._saving.__exit__(None, None, None)


@dataclass(frozen=True)
class _Plan:
    """A journal: by name, which temporary file takes it and the digest of that; and the names that go."""

    directory: Path
    written_ns: int
    temporaries: Mapping[str, str]
    digests: Mapping[str, str]
    removals: tuple[str, ...]

    @classmethod
    def of(cls, directory: Path) -> Self | None:
        """The journal of a directory, if it has one.

        Raises:
            CheckpointFormatError: it is not one that `FileSwitch` writes.
        """
        path = directory / JOURNAL
        if not os.path.lexists(path):
            return None
        try:
            written_ns = path.lstat().st_mtime_ns
            plan = read_json(path)
        except FileNotFoundError:  # the save is over
            return None
        try:
            renames, digests, removals = (plan[key] for key in ("renames", "sha256", "removals"))
            own = plan["journal"] == _MARK and all(map(_is_temporary, renames, renames.values()))
            own = own and sorted(digests) == sorted(renames.values()) and all(map(_DIGEST.fullmatch, digests.values()))
            own = own and all(is_saved_name(name) and name not in digests for name in removals)
        except (KeyError, TypeError, AttributeError):
            own = False
        if not own:
            raise CheckpointFormatError(
                f"{path}: expected the journal of a save by this version of Triclip, got something else. Nothing was "
                "changed. Delete the file if the directory is whole without it, or fetch the checkpoint again."
            )
        temporaries = {name: temporary for temporary, name in renames.items()}
        return cls(directory, written_ns, temporaries, digests, tuple(removals))

    def place(self, name: str) -> Path:
        """Where the file that the journal calls ``name`` lies now.

        Raises:
            CheckpointFormatError: nowhere, or another save put its own in that place since.
        """
        self.check_not_written_since(name)
        for path in (self.directory / self.temporaries[name], self.directory / name):
            with suppress(FileNotFoundError):
                if stat.S_ISREG(path.lstat().st_mode) and _sha256(path) == self.digests[name]:
                    return path
        raise self._spoilt(f"the file that it made for {name} is not there whole")

    def check_not_written_since(self, name: str) -> None:
        """Raises `CheckpointFormatError` if a file that is to go is not the one that the save found."""
        with suppress(FileNotFoundError):
            if (self.directory / name).lstat().st_mtime_ns > self.written_ns:
                raise self._spoilt(f"{name} was written by something else since")

    def _spoilt(self, problem: str) -> CheckpointFormatError:
        return CheckpointFormatError(
            f"{self.directory}: a save was cut short here, and {problem}; what is left may be of two checkpoints. "
            f"Delete {JOURNAL} if the other files are the ones you want, or fetch or save them elsewhere again."
        )


def _is_temporary(temporary: Any, name: Any) -> bool:
    return is_saved_name(name) and re.fullmatch(rf"\.{re.escape(name)}\.[0-9a-f]{{8}}\.tmp", temporary) is not None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def placed(path: Path) -> Path:
    """Where a file of a checkpoint lies: under its name or, if a save was cut short, perhaps still under another.

    Raises:
        CheckpointFormatError: there is a journal of something else than a save of this library, or of one whose files
            are not there whole.
    """
    plan = _Plan.of(path.parent)
    return path if plan is None or path.name not in plan.temporaries else plan.place(path.name)


def is_placed(path: Path) -> bool:
    """Whether a directory has this file once an unfinished save in it is taken to its end.

    Raises:
        CheckpointFormatError: as for `placed`.
    """
    plan = _Plan.of(path.parent)
    if plan is None or path.name not in (*plan.temporaries, *plan.removals):
        return path.is_file()
    return path.name in plan.temporaries


def finish_switch(directory: Path) -> None:
    """Carries out what the journal of a directory says, if it has one; for who is about to write there.

    Raises:
        CheckpointFormatError: as for `placed`; nothing was changed.
    """
    renames, removals = _left_to_do(directory)
    if renames or removals:
        _carry_out(directory, renames, removals)


def _left_to_do(directory: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Renames, from the name that each file has now, and removals of an unfinished switch."""
    plan = _Plan.of(directory)
    if plan is None:
        return {}, ()
    for name in plan.removals:
        plan.check_not_written_since(name)
    return {plan.place(name).name: name for name in plan.temporaries}, plan.removals


def _carry_out(directory: Path, renames: Mapping[str, str], removals: Iterable[str]) -> None:
    for temporary, name in renames.items():
        with suppress(FileNotFoundError):  # renamed before, by another process that saw the journal
            os.replace(directory / temporary, directory / name)
    for name in removals:
        (directory / name).unlink(missing_ok=True)
    (directory / JOURNAL).unlink(missing_ok=True)
