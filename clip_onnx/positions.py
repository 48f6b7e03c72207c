"""Position embeddings of images of another size than the trained one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.interpolation import position_matrix


def resampled_positions(table: NDArray[Any], side: int, rows: int, columns: int) -> NDArray[np.float32]:
    """Position embeddings ``[token, hidden]`` of a grid of patches, from a square; the first token keeps its own.

    Args:
        table: ``[1 + side ** 2, hidden]``.
        rows, columns: of the grid.
    """
    if (rows, columns) == (side, side):
        return np.asarray(table, np.float32)
    patches = position_matrix(side, rows, columns) @ table[1:].astype(np.float64)
    return np.concatenate([table[:1], patches.astype(np.float32)])
