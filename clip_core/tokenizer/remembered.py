"""A memory of bounded size for what a piece of text became."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

_Value = TypeVar("_Value")

MOST_ENTRIES = 65_536
LONGEST = 40
"""Characters. Longer pieces seldom come again, and would make the memory as large as what strangers send."""


class Remembered(Generic[_Value]):
    """Values by pieces of text; when it is full, it starts anew."""

    def __init__(self) -> None:
        self.values: dict[str, _Value] = {}
        self.get = self.values.get

    def __reduce__(self) -> tuple[type[Remembered[_Value]], tuple[()]]:
        """A copy, and what is pickled, remembers nothing."""
        return type(self), ()

    def put(self, piece: str, value: _Value) -> None:
        """Keeps a value, unless the piece is long."""
        if len(piece) <= LONGEST:
            if len(self.values) >= MOST_ENTRIES:
                self.values.clear()
            self.values[piece] = value


class Known(dict[str, _Value]):
    """What ``make`` makes of pieces of text: made when a piece is first looked up; bounded as `Remembered` is."""

    def __init__(self, make: Callable[[str], _Value]) -> None:
        self.make = make

    def __missing__(self, piece: str) -> _Value:
        value = self.make(piece)
        if len(piece) <= LONGEST:
            if len(self) >= MOST_ENTRIES:
                self.clear()
            self[piece] = value
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, and what is pickled, remembers nothing."""
        return type(self), (self.make,)
