"""Small files that travel with weights: which are taken from a directory, and what of them is written elsewhere.

A directory of a stranger could have anything in the place of a vocabulary: a link to a private file, a pipe, something
that is no vocabulary. What is copied is therefore a regular file of the directory itself, bounded, parsed and written
anew from what was understood.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_core.checkpoint.files import CODE_KEYS, parse_json, read_small
from clip_core.errors import CheckpointFormatError
from weights_convert.model import Files, json_text


def read_companion(directory: Path, name: str) -> bytes | None:
    """The content of a small file of a checkpoint directory, or ``None`` where there is none of that name.

    Raises:
        CheckpointFormatError: it is a link that leaves the directory, or too large.
        CheckpointError: it cannot be read, or is no regular file.
    """
    path = directory / name
    if not os.path.lexists(path):
        return None
    home, place = (Path(os.path.realpath(each)) for each in (directory, path))
    if not (place.is_relative_to(home) or _is_blob_of(home, place)):
        raise CheckpointFormatError(
            f"{path}: expected a file of this directory, got a link to {place}, which is not copied. "
            "Put a copy of that in its place, if you trust it."
        )
    return read_small(path)


def _is_blob_of(home: Path, place: Path) -> bool:
    """Whether a directory is a snapshot in the Hugging Face cache, whose files are links to the blobs beside it."""
    repositories = [each.parent.parent for each in (home, *home.parents) if each.parent.name == "snapshots"]
    return any(place.parent == repository / "blobs" for repository in repositories)


def rewritten(files: Mapping[str, bytes], place: Path) -> Files:
    """The files as this package writes them: JSON without what names code, merges as text.

    Raises:
        CheckpointFormatError: one is not JSON or not UTF-8.
    """
    return {name: _rewritten(content, place / name) for name, content in files.items()}


def _rewritten(content: bytes, path: Path) -> bytes:
    try:
        text = json_text(_without_code(parse_json(content, path))) if path.suffix == ".json" else content.decode()
        return text.encode()
    except UnicodeError as error:
        raise CheckpointFormatError(f"{path}: expected UTF-8 text, got {error}. Fetch the file again.") from error


def _without_code(described: Any) -> Any:
    if isinstance(described, dict):
        return {key: _without_code(value) for key, value in described.items() if key not in CODE_KEYS}
    return described
