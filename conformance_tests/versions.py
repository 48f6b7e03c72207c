"""What a run of the suite depends on, in one line; nothing is imported to find it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from conformance_tests.threads import ONE_THREAD

DISTRIBUTIONS = {"torch": ("torch",), "tf": ("tensorflow", "keras"), "flax": ("jax", "jaxlib", "flax")}
"""Of each backend, the distributions whose versions its numbers depend on."""


def environment_line(backend: str | None) -> str:
    """Versions of Python, NumPy and the backend's frameworks, and the thread settings.

    A backend that is not of `DISTRIBUTIONS` may compute with any framework: all that are installed are named.
    """
    every = tuple(name for names in DISTRIBUTIONS.values() for name in names)
    names = ("numpy", *DISTRIBUTIONS.get(backend or "", every))
    found = [f"{name} {release}" for name in names if (release := _release(name))]
    threads = [f"{name}={os.environ.get(name, '(unset)')}" for name in ONE_THREAD]
    return ", ".join([f"Python {platform.python_version()}", *found]) + "; " + " ".join(threads)


def _release(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
