"""Resampling of position embeddings as a matrix, computed once in NumPy and multiplied in every backend.

No framework's resize is used: they differ in kernel, antialiasing and border rule, by up to 0.2 on unit-normal data.
Two recipes for patches are in use, transformers' (`position_matrix`) and open_clip's (`antialiased_matrix`), and two
for texts, open_clip's (`linear_matrix`) and that of LongCLIP (`stretched_matrix`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.errors import InputError

LONGCLIP_KEPT = 20
"""How many positions LongCLIP leaves as they are; most texts that CLIP was trained with are no longer."""
_ANTIALIASED_COEFFICIENT = -0.5  # the kernel of torch's F.interpolate(mode="bicubic", antialias=True), as of Pillow
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


@lru_cache(maxsize=32)
def antialiased_matrix(patches_per_side: int, new_rows: int, new_columns: int) -> NDArray[np.float64]:
    """The matrix ``[new_rows * new_columns, patches_per_side ** 2]`` of open_clip, for patches, too.

    Bicubic with a = -0.5, half-pixel centres, the kernel as much wider as the grid gets smaller, and weights beyond the
    border left out: what open_clip's ``resize_pos_embed`` does when a checkpoint of another image size is loaded.
    """
    rows = _antialiased_weights(patches_per_side, new_rows)
    columns = _antialiased_weights(patches_per_side, new_columns)
    matrix = np.asarray(np.kron(rows, columns), np.float64)
    matrix.setflags(write=False)  # cached, so shared
    return matrix


def linear_matrix(length: int, new_length: int) -> NDArray[np.float64]:
    """The matrix ``[new_length, length]`` that resamples the positions of a text as open_clip does.

    Linear, half-pixel centres, border replicated, no antialiasing: its ``resize_text_pos_embed``.
    """
    centres = np.clip((np.arange(new_length) + 0.5) * (length / new_length) - 0.5, 0, length - 1)
    return np.asarray(np.maximum(0.0, 1 - np.abs(centres[:, None] - np.arange(length))), np.float64)


def stretched_matrix(length: int, new_length: int) -> NDArray[np.float64]:
    """The matrix ``[new_length, length]`` that makes a longer table as LongCLIP does: 248 positions of 77.

    The first 20 positions stay; the others become so many times as many, linear in between, and beyond the last it goes
    on as from the last but one (Zhang et al. 2024, "Long-CLIP", and its authors' ``longclip.py``).

    Raises:
        InputError: the others do not become a whole number of times as many.
    """
    others, new_others = length - LONGCLIP_KEPT, new_length - LONGCLIP_KEPT
    if others < 2 or new_others < others or new_others % others:
        example = f", such as {LONGCLIP_KEPT + 4 * others}" if others >= 2 else ""
        raise InputError(
            f"max_position_embeddings: LongCLIP keeps {LONGCLIP_KEPT} of {length} positions and stretches the others a "
            f"whole number of times, so expected {LONGCLIP_KEPT} + n * {others}{example}; got {new_length}."
        )
    places = LONGCLIP_KEPT + np.arange(new_others) / (new_others // others)
    before = np.minimum(places.astype(np.int64), length - 2)
    matrix = np.eye(new_length, length)
    matrix[LONGCLIP_KEPT:] = 0
    new_rows = np.arange(LONGCLIP_KEPT, new_length)
    matrix[new_rows, before] = 1 - (places - before)
    matrix[new_rows, before + 1] = places - before
    return matrix


def _antialiased_weights(size: int, new_size: int) -> NDArray[np.float64]:
    """The one-dimensional matrix ``[new_size, size]`` of `antialiased_matrix`."""
    stride = size / new_size
    distances = np.abs(np.arange(size) + 0.5 - (np.arange(new_size)[:, None] + 0.5) * stride)
    weights = _cubic(distances / max(stride, 1), np, _ANTIALIASED_COEFFICIENT)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


def _cubic_weights(size: int, new_size: int) -> NDArray[np.float64]:
    """The one-dimensional resampling matrix ``[new_size, size]``."""
    return np.asarray(axis_matrix(size, new_size, np), np.float64)


def _cubic(distance: Any, numpy: Any, coefficient: float | None = None) -> Any:
    """Keys' cubic convolution kernel; zero beyond a distance of 2."""
    a, d = _CUBIC_COEFFICIENT if coefficient is None else coefficient, distance
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return numpy.where(d <= 1, near, numpy.where(d < 2, far, 0.0))
