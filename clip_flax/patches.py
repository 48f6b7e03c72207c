"""The patch embedding's convolution as one product: patches lie side by side, so that no pixel is in two of them.

On CPUs XLA convolves them two to three times as slowly as it multiplies. The layer stays an `nnx.Conv`, which calls
this instead of `jax.lax.conv_general_dilated`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

PLAIN = {
    "lhs_dilation": (1, 1),
    "rhs_dilation": (1, 1),
    "feature_group_count": 1,
    "out_sharding": None,
    "preferred_element_type": None,
}
"""What a layer asks for that nobody changed."""


def convolved_patches(x: Array, kernel: Array, strides: tuple[int, int], padding: Any, **options: Any) -> Array:
    """``[batch, height, width, channel]`` and ``[row, column, channel, hidden]`` to ``[batch, row, column, hidden]``.

    Whatever is no row of patches side by side, or of sizes that `jax.export` leaves open, is convolved.
    """
    batch, height, width, channels = x.shape
    plain = all(options.get(name, usual) == usual for name, usual in PLAIN.items())
    side_by_side = plain and padding == "VALID" and tuple(strides) == kernel.shape[:2]
    if not (side_by_side and isinstance(height, int) and isinstance(width, int)):
        return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)
    tall, wide = strides
    rows, columns = height // tall, width // wide  # what is left over at the right and the bottom is in no patch
    x = x[:, : rows * tall, : columns * wide].reshape(batch, rows, tall, columns, wide, channels)
    patches = x.swapaxes(2, 3).reshape(batch, rows, columns, tall * wide * channels)
    return jnp.matmul(patches, kernel.reshape(-1, kernel.shape[3]), precision=options.get("precision"))
