"""What a side returns to its process, where a plain function does not say it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """What is measured.

    Attributes:
        run: what is measured.
        before: is called before each measured call, and its time does not count. Such a call is not repeated.
        compared: makes what is compared with other sides' of what ``run`` returned.
        memory: the peak in bytes of the last call, where that is of another process.
    """

    run: Callable[[], Any]
    before: Callable[[], Any] | None = None
    compared: Callable[[Any], Any] | None = None
    memory: Callable[[], int] | None = None
