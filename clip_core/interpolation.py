"""Resampling of position embeddings as a matrix, computed once in NumPy and multiplied in every backend.

No framework's resize is used: they differ in kernel, antialiasing and border rule, by up to 0.2 on unit-normal data.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CUBIC_COEFFICIENT = -0.75  # the kernel of torch's F.interpolate(mode="bicubic"), which upstream CLIP uses


@lru_cache(maxsize=32)
def position_matrix(patches_per_side: int, new_rows: int, new_columns: int) -> NDArray[np.float64]:
    """The matrix ``[new_rows * new_columns, patches_per_side ** 2]`` that resamples patch position embeddings.

    Bicubic with a = -0.75, half-pixel centres, border replicated, no antialiasing: the rule of transformers'
    ``interpolate_pos_encoding``. Rows and columns are in row-major order of the patches.
    """
    rows = _cubic_weights(patches_per_side, new_rows)
    columns = _cubic_weights(patches_per_side, new_columns)
    matrix = np.asarray(np.kron(rows, columns), np.float64)
    matrix.setflags(write=False)  # cached, so shared
    return matrix


def axis_matrix(size: int, new_size: Any, numpy: Any) -> Any:
    """The matrix ``[new_size, size]`` that resamples along one axis; `position_matrix` is the product of two.

    Args:
        new_size: may be a size that is known only when a program runs.
        numpy: the module that computes it, which has NumPy's functions.
    """
    centres = (numpy.arange(new_size) + 0.5) * (size / new_size) - 0.5
    first = numpy.floor(centres) - 1
    weights = numpy.zeros((new_size, size))
    for tap in range(4):
        source = numpy.clip(first + tap, 0, size - 1)[:, None] == numpy.arange(size)[None]
        weights = weights + source * _cubic(numpy.abs(centres - (first + tap)), numpy)[:, None]
    return weights


def _cubic_weights(size: int, new_size: int) -> NDArray[np.float64]:
    """The one-dimensional resampling matrix ``[new_size, size]``."""
    return np.asarray(axis_matrix(size, new_size, np), np.float64)


def _cubic(distance: Any, numpy: Any) -> Any:
    """Keys' cubic convolution kernel at distances in [0, 2]."""
    a, d = _CUBIC_COEFFICIENT, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return numpy.where(d <= 1, near, numpy.where(d < 2, far, 0.0))
