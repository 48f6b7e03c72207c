"""Comparing what a backend gives with what is expected, with messages that explain themselves, and a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance_tests.tolerances import TOLERANCES

Fields = Mapping[str, NDArray[Any]]


class Comparison:
    """Compares, and remembers the largest error per row of the table of tolerances."""

    def __init__(self) -> None:
        self.largest: dict[str, tuple[float, str]] = {}

    def close(self, measure: str, what: str, got: Fields, expected: Fields, *, floor: float = 0.0) -> None:
        """Fails unless the fields are the expected ones within the tolerance of ``measure``.

        Args:
            measure: a key of `TOLERANCES`.
            what: was computed, for the message.
            got, expected: arrays by name of field.
            floor: of the scale by which errors are divided, for fields whose true value is 0.
        """
        assert set(got) == set(expected), (
            f"{what}: expected the fields {sorted(expected)}, got {sorted(got)}: "
            f"missing {sorted(set(expected) - set(got))}, unexpected {sorted(set(got) - set(expected))}."
        )
        for name, value in expected.items():
            self._field(measure, f"{what}: {name}", np.asarray(got[name]), np.asarray(value, np.float64), floor)

    def _field(self, measure: str, what: str, got: NDArray[Any], expected: NDArray[np.float64], floor: float) -> None:
        assert got.shape == expected.shape, f"{what}: expected shape {expected.shape}, got {got.shape}."
        tolerance = TOLERANCES[measure]
        difference = np.abs(got.astype(np.float64) - expected)
        scale = max(float(np.abs(expected).max(initial=0)), floor) if tolerance.relative else 1.0
        error = float(difference.max(initial=0)) / (scale or 1.0)
        if np.isfinite(error) and error >= self.largest.get(measure, (-1.0, ""))[0]:
            self.largest[measure] = (error, what)
        if not error <= tolerance.limit:  # also if it is not a number
            worst = np.unravel_index(int(np.argmax(np.nan_to_num(difference, nan=np.inf))), difference.shape)
            place = [int(index) for index in worst]
            raise AssertionError(
                f"{what}: largest error {error:.3g} {'of the field' if tolerance.relative else ''} is above "
                f"{tolerance.limit:g} ({measure}; measured noise {tolerance.noise:g}). At {place}: "
                f"expected {expected[worst]:.9g}, got {float(got[worst]):.9g}."
            )


def equal(what: str, got: Fields, expected: Fields) -> None:
    """Fails unless names, dtypes, shapes and every byte are the same."""
    assert list(got) == list(expected), f"{what}: expected the names {list(expected)}, got {list(got)}."
    for name, value in expected.items():
        assert got[name].dtype == value.dtype, f"{what}: {name}: expected {value.dtype}, got {got[name].dtype}."
        assert got[name].shape == value.shape, f"{what}: {name}: expected shape {value.shape}, got {got[name].shape}."
        same = np.ascontiguousarray(got[name]).tobytes() == np.ascontiguousarray(value).tobytes()
        assert same, f"{what}: {name}: the bytes differ."
