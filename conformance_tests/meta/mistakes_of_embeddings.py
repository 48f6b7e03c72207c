"""Mistakes in embeddings of tokens, patches and positions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import clip_core.interpolation
import clip_core.positions
import clip_core.pretrained
from conformance_tests.meta.seeder import Seeder


def reordered(order: Callable[[int], list[int]]) -> Callable[[Seeder], None]:
    """Image tokens in another order, from the number of patches per side."""

    def seed(s: Seeder) -> None:
        def call(original: Any, self: Any, *args: Any, **options: Any) -> Any:
            return original(self, *args, **options)[:, np.array(order(self.config.patches_per_side))]

        s.wrap_call(s.vision.VisionEmbeddings, call)

    return seed


def class_token_last(side: int) -> list[int]:
    return [*range(1, side**2 + 1), 0]


def columns_first(side: int) -> list[int]:
    return [0, *(1 + row * side + column for column in range(side) for row in range(side))]


def positions_from_one(s: Seeder) -> None:
    import torch

    def call(original: Any, self: Any, input_ids: Any, position_ids: Any) -> Any:
        if position_ids is None:
            position_ids = torch.arange(1, input_ids.shape[1] + 1)[None]
        return original(self, input_ids, position_ids)

    s.wrap_call(s.text.TextEmbeddings, call)


def positions_of_the_first_row(s: Seeder) -> None:
    s.wrap_call(
        s.text.TextEmbeddings,
        lambda original, self, input_ids, position_ids: original(
            self, input_ids, None if position_ids is None else position_ids[:1]
        ),
    )


def padded_convolution(s: Seeder) -> None:
    def construct(original: Any, self: Any, config: Any) -> None:
        original(self, config)
        self.patch_embedding.padding = (1, 1)

    s.wrap(s.vision.VisionEmbeddings, "__init__", construct)


def left_over_at_the_start(s: Seeder) -> None:
    """Pixels that no patch takes dropped at the top left, not at the bottom right."""

    def call(original: Any, self: Any, pixel_values: Any) -> Any:
        height, width = (size % self.config.patch_size for size in pixel_values.shape[2:])
        return original(self, pixel_values[:, :, height:, width:])

    s.wrap_call(s.vision.VisionEmbeddings, call)


def detached_positions(resampled_ones: bool) -> Callable[[Seeder], None]:
    """Of every grid of patches, or of those only that are not the trained one."""

    def seed(s: Seeder) -> None:
        def table(original: Any, self: Any, rows: Any, columns: Any) -> Any:
            positions, side = original(self, rows, columns), self.config.patches_per_side
            return positions if resampled_ones and (rows, columns) == (side, side) else s.stopped(positions)

        s.differentiate_anew()
        s.wrap(s.vision.VisionEmbeddings, "position_table", table)

    return seed


def table_of_positions(change: Callable[[Seeder, Any], Any]) -> Callable[[Seeder], None]:
    """Other position embeddings of images."""
    return lambda s: s.wrap(
        s.vision.VisionEmbeddings, "position_table", lambda original, *grid: change(s, original(*grid))
    )


def class_position_twice(s: Seeder, table: Any) -> Any:
    times = np.ones((table.shape[0], 1), np.float32)
    times[0] = 2
    return table * s.tensor(times)


def resampled(name: str, value: Any) -> Callable[[Seeder], None]:
    """Another rule of resampling; matrices made by it are forgotten before and after."""

    def seed(s: Seeder) -> None:
        matrix = clip_core.interpolation.position_matrix
        s.patch.setattr(clip_core.interpolation, name, value)
        s.patch.setattr(s.positions, "position_matrix", matrix.__wrapped__)

    return seed


def bilinear(size: int, new_size: int) -> Any:
    centres = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
    return np.stack([np.interp(centres, np.arange(size), row) for row in np.eye(size)], axis=1)


def half_a_pixel_off(size: int, new_size: int) -> Any:
    """The right kernel, with centres at whole numbers."""
    centres = np.arange(new_size) * (size / new_size)
    distances = np.abs(centres[:, None] - np.arange(-2, size + 2))
    weights = clip_core.interpolation._cubic(np.minimum(distances, 2), np)
    inside = weights[:, 2:-2].copy()
    inside[:, 0] += weights[:, :2].sum(1)  # borders repeated
    inside[:, -1] += weights[:, -2:].sum(1)
    return inside


def turned_grid(s: Seeder) -> None:
    s.wrap(s.positions, "position_matrix", lambda original, side, rows, columns: original(side, columns, rows))


def resampled_in_its_dtype(s: Seeder) -> None:
    """The matrix of resampling rounded to the dtype of the weights."""
    narrow = {}

    def table(original: Any, self: Any, *grid: Any) -> Any:
        narrow["dtype"] = s.value(self.class_embedding).dtype
        return original(self, *grid)

    def matrix(original: Any, *sizes: Any) -> Any:
        made = s.tensor(original(*sizes).copy())
        return s.cast(s.cast(made, narrow["dtype"]), made.dtype)

    s.wrap(s.vision.VisionEmbeddings, "position_table", table)
    name = "position_matrix" if s.backend == "flax" else "interpolation_matrix"
    s.patch.setattr(s.positions, name, lambda *sizes: matrix(clip_core.interpolation.position_matrix, *sizes[-3:]))


def vision_loaded_as_in_a_call(s: Seeder) -> None:
    s.patch.setitem(clip_core.positions.VISION_RECIPES, "open_clip", clip_core.interpolation.position_matrix)


def longclip_loaded_evenly(s: Seeder) -> None:
    s.patch.setitem(clip_core.positions.TEXT_RECIPES, "longclip", clip_core.interpolation.linear_matrix)


def class_token_lost_at_the_load(s: Seeder) -> None:
    def without(original: Any, patches: Any) -> Any:
        matrix = original(patches)
        matrix[0] = 0
        return matrix

    s.wrap(clip_core.positions, "_with_class_token", without)


def any_end_of_text(s: Seeder) -> None:
    """What 2 stands for is not asked."""
    s.patch.setattr(clip_core.pretrained, "check_end_of_text", lambda config: None)
