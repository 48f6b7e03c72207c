"""Progress of long work on stderr: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from clip_core.commands import echo

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Counts; subclasses show it."""

    def advance(self, count: int) -> None:
        """So many more are done."""

    def echo(self, text: str, *, err: bool = False) -> None:
        """Prints without tearing what shows the progress."""
        echo(text, err=err)

    def close(self) -> None:
        """Nothing more will be done."""


class _Lines(Progress):
    def __init__(self, total: int, unit: str) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self.last_line = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count
        if time.monotonic() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.last_line = time.monotonic()
            echo(f"{self.done:,} of {self.total:,} {self.unit}", err=True)


class _Bar(Progress):
    def __init__(self, total: int, unit: str) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=total, unit=f" {unit}", file=sys.stderr, dynamic_ncols=True, leave=False)

    def advance(self, count: int) -> None:
        self.bar.update(count)

    def echo(self, text: str, *, err: bool = False) -> None:
        shares_the_line = (sys.stderr if err else sys.stdout).isatty()
        if shares_the_line:
            self.bar.clear()
        echo(text, err=err)
        if shares_the_line:
            self.bar.refresh()

    def close(self) -> None:
        self.bar.close()


@contextmanager
def progress(total: int, unit: str, *, long: bool) -> Iterator[Progress]:
    """Shows how many of ``total`` are done, if the work is ``long``."""
    shown = Progress() if not long else _Bar(total, unit) if sys.stderr.isatty() else _Lines(total, unit)
    try:
        yield shown
    finally:
        shown.close()
