"""A directory for files of the moment."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clip_core.errors import CheckpointError


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that is deleted in the end.

    Raises:
        CheckpointError: what is done inside cannot write to it.
    """
    try:
        with tempfile.TemporaryDirectory() as directory:
            yield Path(directory)
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        problem = error.strerror or error
        raise CheckpointError(
            f"Temporary files cannot be written: {problem}. Make room, or set TMPDIR to a directory that has."
        ) from error
