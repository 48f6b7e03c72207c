"""Python's search for dead objects that refer to one another, and what a starting command has of it: nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """Nothing is searched for inside, and what is there at the end is left out of every later search.

    A framework makes some hundred thousand objects while it is imported, nearly all of which stay. Python looks through
    them again and again meanwhile, and once more when the process ends: a quarter of the time (decision 41). Where
    the search was switched off already, nothing is changed.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()
            gc.enable()
