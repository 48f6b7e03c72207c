"""Position embeddings of images of another size than the trained one, for PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from clip_core.interpolation import position_matrix
from clip_torch.layers import wide


@torch.library.custom_op("triclip::position_matrix", mutates_args=())
def interpolation_matrix(like: Tensor, patches_per_side: int, rows: int, columns: int) -> Tensor:
    """`position_matrix` as a tensor ``[rows * columns, patches_per_side ** 2]`` where ``like`` lies.

    An operator of its own, so that compiled graphs call NumPy for it, whatever the image size of each call.
    """
    matrix = position_matrix(patches_per_side, rows, columns)
    return torch.tensor(matrix, dtype=torch.float32, device=like.device)


@interpolation_matrix.register_fake
def _(like: Tensor, patches_per_side: int, rows: int, columns: int) -> Tensor:
    return like.new_empty(rows * columns, patches_per_side**2, dtype=torch.float32)


def exported_matrix(patches_per_side: int, rows: int, columns: int) -> Tensor:
    """`position_matrix` by operators of torch, which run where neither Triclip nor NumPy is, within rounding."""
    row, column = (_cubic_weights(patches_per_side, new) for new in (rows, columns))  # [new, trained]
    matrix = row[:, None, :, None] * column[None, :, None, :]  # [row, column, trained row, trained column]
    return matrix.reshape(rows * columns, patches_per_side**2).float()


def _cubic_weights(size: int, new_size: int) -> Tensor:
    """As `clip_core.interpolation` has it, ``[new_size, size]``."""
    centres = (torch.arange(new_size, dtype=torch.float64) + 0.5) * size / new_size - 0.5
    sources = centres.floor()[:, None] + torch.arange(-1, 3)  # [new, tap]
    distance = (centres[:, None] - sources).abs()
    near = (1.25 * distance - 2.25) * distance**2 + 1
    far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
    weights = torch.where(distance <= 1, near, torch.where(distance < 2, far, 0.0))  # [new, tap]
    here = sources.clamp(0, size - 1)[:, :, None] == torch.arange(size)  # [new, tap, trained]
    return (weights[:, :, None] * here).sum(dim=1)


def is_exporting() -> bool:
    """Whether a program is made that others run, rather than one for this process."""
    if torch.compiler.is_compiling():
        return torch.compiler.is_exporting()
    return torch.onnx.is_in_onnx_export()


def resampled_positions(table: Tensor, side: int, rows: int, columns: int) -> Tensor:
    """Position embeddings ``[token, hidden]`` of a grid of patches, from a square; the first token keeps its own.

    Args:
        table: ``[1 + side ** 2, hidden]``.
        rows, columns: of the grid; in a program that is exported, they may be open.
    """
    exported = is_exporting()
    symbolic = exported and not all(isinstance(count, int) for count in (rows, columns))
    if not symbolic and (rows, columns) == (side, side):
        return table
    if exported:
        matrix = exported_matrix(side, rows, columns).to(table.device)  # [patch, trained patch]
    else:
        matrix = interpolation_matrix(table.detach(), side, rows, columns)
    trained = wide(table[1:])  # [trained patch, hidden]
    patches = (matrix.to(trained.dtype) @ trained).to(table.dtype)  # [patch, hidden]
    return torch.cat([table[:1], patches])  # [token, hidden]
