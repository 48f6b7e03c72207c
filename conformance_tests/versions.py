"""What a run of the suite depends on, in one line; nothing is imported to find it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from clip_core.backends import BACKENDS
from conformance_tests.threads import ONE_THREAD


def environment_line(backend: str | None) -> str:
    """Versions of Python, NumPy and the backend's frameworks, and the thread settings.

    A backend that is not of `BACKENDS` may compute with any framework: all that are installed are named.
    """
    used = [BACKENDS[backend]] if backend in BACKENDS else BACKENDS.values()
    names = [name for known in used for name in known.modules]
    found = [f"{name} {release}" for name in ("numpy", *names) if (release := _release(name))]
    threads = [f"{name}={os.environ.get(name, '(unset)')}" for name in ONE_THREAD]
    return ", ".join([f"Python {platform.python_version()}", *found]) + "; " + " ".join(threads)


def _release(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
