"""How far reading, writing or downloading is, for people at a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable


def show_progress(count: int) -> Callable[[int], None]:
    """A bar with bytes and remaining time on stderr, if that is a terminal.

    Args:
        count: the bytes to come.

    Returns:
        What is to be told the bytes that are done.
    """
    from tqdm import tqdm

    bar = tqdm(total=count, unit="B", unit_scale=True, leave=False, disable=None, file=sys.stderr)

    def advance(done: int) -> None:
        bar.update(done)
        if bar.n >= count:
            bar.close()

    return advance
