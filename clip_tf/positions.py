"""Position embeddings of images of another size than the trained one, for Keras."""

from __future__ import annotations

from keras import ops

from clip_core.errors import InputError
from clip_core.interpolation import position_matrix
from clip_tf.layers import Tensor, plain_errors, wide


def interpolation_matrix(patches_per_side: int, rows: int | None, columns: int | None) -> Tensor:
    """`position_matrix` as a tensor ``[rows * columns, patches_per_side ** 2]``; a constant of graphs.

    Raises:
        InputError: a graph that leaves the image size open.
    """
    with plain_errors():
        if rows is None or columns is None:
            raise InputError(
                "pixel_values: expected a known height and width for interpolate_pos_encoding in a graph, got an open "
                "one. Give the size in the input signature, or let tf.function trace once per size "
                "(reduce_retracing=False)."
            )
    return ops.convert_to_tensor(position_matrix(patches_per_side, rows, columns), "float32")


def resampled_positions(table: Tensor, side: int, rows: int | None, columns: int | None) -> Tensor:
    """Position embeddings ``[token, hidden]`` of a grid of patches, from a square; the first token keeps its own.

    Args:
        table: ``[1 + side ** 2, hidden]``.
        rows, columns: of the grid.

    Raises:
        InputError: they are not known.
    """
    if (rows, columns) == (side, side):
        return table
    matrix = interpolation_matrix(side, rows, columns)  # [patch, trained patch]
    trained = wide(table[1:])  # [trained patch, hidden]
    patches = ops.cast(ops.matmul(ops.cast(matrix, trained.dtype), trained), table.dtype)  # [patch, hidden]
    return ops.concatenate([table[:1], patches], axis=0)  # [token, hidden]
