"""Work in threads whose results come in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], limit: int, workers: int | None = None
) -> Generator[Result, None, None]:
    """``map(function, items)`` in threads, at most ``limit`` results ahead of what was taken.

    What a call raises is raised in its place in the order; calls that have not begun then are not made. Where a thread
    cannot be started, as in one that goes on after the main thread, calls are made here.

    Args:
        workers: how many threads; as many as `concurrent.futures.ThreadPoolExecutor` has unless given.
    """
    waiting: deque[Callable[[], Result]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for item in items:
            try:
                waiting.append(pool.submit(function, item).result)
            except RuntimeError:
                waiting.append(partial(function, item))
            if len(waiting) >= limit:
                yield waiting.popleft()()
        while waiting:
            yield waiting.popleft()()
    finally:
        pool.shutdown(cancel_futures=True)
