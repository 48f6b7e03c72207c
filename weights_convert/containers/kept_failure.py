"""A file that C code can write to which crashes where writing fails."""

from __future__ import annotations

import io
from typing import Any


class KeptFailure(io.FileIO):
    """Keeps the first failure of writing instead of raising it, and drops what is written after that.

    HDF5's library, told that the disk is full, leaves its structures half undone and ends the process by SIGSEGV, when
    the file is closed at the latest. So it is told that all went well, and `check` tells its caller.
    """

    failure: OSError | None = None

    def write(self, content: Any) -> int:
        """Writes all of the content, if nothing has failed so far."""
        left = memoryview(content).cast("B")
        count = len(left)
        try:
            while left and self.failure is None:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self.failure = error
        return count

    def truncate(self, size: int | None = None) -> int:
        """Changes the size, if nothing has failed so far."""
        try:
            return super().truncate(size) if self.failure is None else 0
        except OSError as error:
            self.failure = error
            return 0

    def check(self) -> None:
        """Raises the failure."""
        if self.failure is not None:
            raise self.failure
