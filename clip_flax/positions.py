"""Position embeddings of images of another size than the trained one, for Flax."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from clip_core.interpolation import axis_matrix, position_matrix
from clip_flax.layers import wide


def resampled_positions(table: Array, side: int, rows: int, columns: int, precision: jax.lax.Precision | None) -> Array:
    """Position embeddings ``[token, hidden]`` of a grid of patches, from a square; the first token keeps its own.

    Args:
        table: ``[1 + side ** 2, hidden]``.
        rows, columns: of the grid; in a program that is exported, they may be open.
        precision: of the product.
    """
    if (rows, columns) == (side, side):
        return table
    trained = wide(table[1:])  # [trained patch, hidden]
    if isinstance(rows, int) and isinstance(columns, int):
        matrix = jnp.asarray(position_matrix(side, rows, columns), trained.dtype)  # [patch, trained patch]
    else:  # left open by jax.export, so it is computed when the program runs
        matrix = jnp.kron(axis_matrix(side, rows, jnp), axis_matrix(side, columns, jnp)).astype(trained.dtype)
    patches = jnp.matmul(matrix, trained, precision=precision)  # [patch, hidden]
    return jnp.concatenate([table[:1], patches.astype(table.dtype)])  # [token, hidden]
