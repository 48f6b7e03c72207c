"""Reading and writing small files: JSON with a clear error, and writes that a kill cannot tear."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointNotFoundError: no such file.
        CheckpointFormatError: not UTF-8, not JSON or not an object.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointNotFoundError(f"{path}: no such file. {_what_is_there(path.parent)}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise CheckpointFormatError(f"{path}: expected JSON, got {error}. Fetch or write the file again.") from error
    if not isinstance(value, dict):
        raise CheckpointFormatError(f"{path}: expected a JSON object, got {type(value).__name__}.")
    return value


def _what_is_there(directory: Path) -> str:
    if not directory.is_dir():
        return f"The directory {directory} does not exist either."
    names = sorted(entry.name for entry in directory.iterdir())
    return f"The directory holds: {', '.join(names[:12]) or 'nothing'}{' ...' if len(names) > 12 else ''}."


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on leaving without an exception its file is synced and renamed to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text so that readers see the old file or the new one, never a part."""
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
