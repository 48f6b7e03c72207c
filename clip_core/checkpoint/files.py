"""Reading small files with a clear error, and writing files so that a kill cannot tear them."""

from __future__ import annotations

import json
import os
import stat
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import and_
from pathlib import Path
from typing import Any

from clip_core.checkpoint.leftovers import saving
from clip_core.errors import CheckpointError, CheckpointFormatError, CheckpointNotFoundError
from clip_core.regular_files import open_regular

CODE_KEYS = ("auto_map", "trust_remote_code")
"""Keys of JSON files with which transformers finds code beside a checkpoint. They are not kept: the code is not."""
_MAX_SMALL_BYTES = 30_000_000  # the largest tokenizer.json has 17; JSON takes up to 25 times its size in memory


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


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small JSON file.

    Raises:
        CheckpointError: as for `read_small`.
        CheckpointFormatError: not UTF-8, not JSON or not an object.
    """
    return parse_json(read_small(path), path)


def parse_json(content: bytes, path: Path) -> dict[str, Any]:
    """The object in the content of a JSON file; the path is for messages.

    Raises:
        CheckpointFormatError: not UTF-8, not JSON or not an object.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointFormatError(f"{path}: expected JSON, got {error}. Fetch or write the file again.") from error
    if not isinstance(value, dict):
        raise CheckpointFormatError(f"{path}: expected a JSON object, got {type(value).__name__}.")
    return value


def _what_is_there(directory: Path) -> str:
    try:
        names = sorted(os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return f"The directory {directory} does not exist either."
    except OSError as error:
        return f"The directory cannot be listed: {error.strerror}."
    return f"The directory holds: {', '.join(names[:12]) or 'nothing'}{' ...' if len(names) > 12 else ''}."


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``; on leaving without an exception its file is synced and renamed to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with saving(path.parent, path.name.__eq__):
        temporary = beside(path)
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def beside(path: Path, like: Sequence[Path] = ()) -> Path:
    """A new, empty temporary file beside ``path``; from its first byte nobody can read it who cannot read the old ones.

    Args:
        like: the files that say so where there is none at ``path``.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    modes = [stat.S_IMODE(file.stat().st_mode) for file in ([path] if path.is_file() else like)]
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if modes else 0o666))
    if modes:
        temporary.chmod(reduce(and_, modes) & 0o777 | 0o600)
    return temporary


def sync(path: Path) -> None:
    """Has what was written to a file reach the disk."""
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_text_atomically(path: Path, text: str) -> None:
    """Writes UTF-8 text so that readers see the old file or the new one, never a part."""
    with written_beside(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
