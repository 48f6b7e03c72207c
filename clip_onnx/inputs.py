"""What models are called with: NumPy arrays, and switches that the configuration has, too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.errors import InputTypeError

Array = NDArray[Any]


def default(value: bool | None, configured: bool) -> bool:
    """An argument, or what the configuration says if it was not given."""
    return configured if value is None else value


def array_input(name: str, value: Any) -> Array:
    """An input that must be an array.

    Raises:
        InputTypeError: it is missing or of another type.
    """
    if not isinstance(value, np.ndarray):
        raise InputTypeError(
            f"{name}: expected a NumPy array, got {type(value).__name__}. "
            "Call the processor with return_tensors='np' and pass what it returns."
        )
    return value


def optional_input(name: str, value: Any) -> Array | None:
    """An input that must be an array or ``None``."""
    return None if value is None else array_input(name, value)
