"""Pillow's resize to the same bits, of only the part that a crop keeps, as products of matrices.

Pillow (`libImaging/Resample.c`) makes a picture smaller in two passes, along rows and then along columns. In each, a
pixel is the sum of its neighbours times weights in units of 2**-22, rounded to 8 bits. Here that sum is one of float32,
whose largest error is known; the few sums that lie so close to a half that they could round to the other side are done
again in integers. Columns and rows that a crop drops are not computed, and no pass needs them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.uint8]
Values = NDArray[np.float32]

_UNIT = 1 << 22  # of weights, in Pillow: PRECISION_BITS
_SUPPORT = {int(Image.Resampling.BILINEAR): 1.0, int(Image.Resampling.BICUBIC): 2.0}
_TOGETHER = 16  # outputs of one product: more of them multiply more zeros, fewer take more calls
_LARGEST_PRODUCT = 1 << 18  # multiplications; of more, OpenBLAS makes work for threads of its own
_MOST_KEPT = 1 << 22  # values of a thread's memory: 16 MB
_MOST_DOUBTS = 0.05  # share of sums; beyond, Pillow is faster
_LARGEST_SCALE = 24  # pixels to one; beyond, Pillow is faster, and what is kept for each length would be large
_MOST_VALUES = 1 << 23  # in between, 32 MB; beyond, Pillow is faster, and needs a fourth of the memory


@dataclass(frozen=True)
class Pass:
    """What one pass does: which pixels of a row or column make which outputs.

    Attributes:
        starts, blocks: of `_TOGETHER` outputs each, the first pixel, and the weights ``[pixel, output]``.
        places: of each block, its first output.
        pixels, weights: ``[output, tap]``, the pixels of every output and Pillow's whole numbers.
        error: which a float32 sum of 8-bit pixels times weights cannot exceed.
    """

    starts: list[int]
    places: list[int]
    blocks: Values
    pixels: NDArray[np.intp]
    weights: NDArray[np.int64]
    error: float

    @property
    def first(self) -> int:
        """The first pixel that is read."""
        return min(self.starts)

    @property
    def stop(self) -> int:
        """The pixel after the last that is read."""
        return max(self.starts) + len(self.blocks[0])


def planes_of(image: Image.Image) -> list[Plane]:
    """The planes ``[height, width]`` of a picture of mode RGB."""
    shape = image.height, image.width
    return [np.frombuffer(image.tobytes("raw", band), np.uint8).reshape(shape) for band in "RGB"]


def can_shrink(old: tuple[int, int], new: tuple[int, int], kept: tuple[int, int], resample: int) -> bool:
    """Whether `shrink` takes planes of ``height, width`` to be resized, before anybody has made them.

    Args:
        kept: how many rows and columns of the ``new`` ones.
    """
    lost_height, lost_width = old[0] - new[0], old[1] - new[1]
    # Pillow 13 may begin with the columns of pictures that lose more than twice as much height as width.
    is_usual = min(lost_height, lost_width) > 0 and lost_height <= 2 * lost_width
    down, across = old[0] / new[0], old[1] / new[1]
    values = 3 * kept[0] * kept[1] * (down + 2)
    return resample in _SUPPORT and is_usual and max(down, across) <= _LARGEST_SCALE and values <= _MOST_VALUES


def shrink(
    planes: Sequence[Plane], size: tuple[int, int], rows: range, columns: range, resample: int
) -> NDArray[np.uint8] | None:
    """Rows and columns of planes ``[height, width]`` that are resized to ``size``, ``[channel, row, column]``.

    Returns ``None`` where Pillow must be asked: where it cannot (`can_shrink`), and where the bits are not certain.
    """
    (height, width), (new_height, new_width) = planes[0].shape, size
    if not can_shrink((height, width), size, (len(rows), len(columns)), resample):
        return None
    across = _pass(width, new_width, columns.start, columns.stop, resample)
    down = _pass(height, new_height, rows.start, rows.stop, resample)
    if across is None or down is None or not _agrees_with_pillow(resample):
        return None
    return _shrink(planes, across, down)


class _Scratch(threading.local):
    """Memory of this thread that is used again: memory that is new to a process takes longer than the sums."""

    def __init__(self) -> None:
        self.values = np.empty(0, np.float32)

    def arrays(self, *shapes: tuple[int, ...]) -> list[Values]:
        sizes = [math.prod(shape) for shape in shapes]
        values = self.values if sum(sizes) <= len(self.values) else np.empty(sum(sizes), np.float32)
        if len(values) <= _MOST_KEPT:
            self.values = values
        ends = list(accumulate(sizes))
        return [values[end - size : end].reshape(shape) for size, end, shape in zip(sizes, ends, shapes, strict=True)]


_SCRATCH = _Scratch()


def _shrink(planes: Sequence[Plane], across: Pass, down: Pass) -> NDArray[np.uint8] | None:
    channels, height, width = len(planes), down.stop - down.first, len(across.pixels)
    step = -(-height // -(-height * across.blocks[0].size // _LARGEST_PRODUCT))
    pixels, narrow, small, whole = _SCRATCH.arrays(
        (channels, step, across.stop - across.first),
        (channels, height, width),
        (channels, len(down.pixels), width),
        (channels, max(step, len(down.pixels)), width),
    )
    for top in range(0, height, step):
        strip, sums = pixels[:, : height - top], narrow[:, top : top + step]
        for plane, values in zip(planes, strip, strict=True):
            values[:] = plane[down.first + top :, across.first : across.stop][: len(values)]
        if not _across(strip, across, sums, whole):
            return None
    return small.astype(np.uint8) if _down(narrow, down, small, whole) else None


def _across(source: Values, plan: Pass, result: Values, scratch: Values) -> bool:
    """``[channel, row, pixel]`` to ``[channel, row, output]``; whether it could be done."""
    for start, place, block in zip(plan.starts, plan.places, plan.blocks, strict=True):
        begin = start - plan.first
        pixels, outputs = source[..., begin : begin + len(block)], result[..., place : place + block.shape[1]]
        np.matmul(pixels, block, out=outputs)
    doubtful = _round(result, scratch[:, : result.shape[1]], plan.error)
    if len(doubtful[0]) > _MOST_DOUBTS * result.size:
        return False
    channel, row, output = doubtful
    taps = source[channel[:, None], row[:, None], plan.pixels[output] - plan.first]
    result[doubtful] = _exact(taps, plan.weights[output])
    return True


def _down(source: Values, plan: Pass, result: Values, scratch: Values) -> bool:
    """``[channel, pixel, column]`` to ``[channel, output, column]``; whether it could be done."""
    step = max(1, _LARGEST_PRODUCT // plan.blocks[0].size)
    for left in range(0, result.shape[2], step):
        for start, place, block in zip(plan.starts, plan.places, plan.blocks, strict=True):
            begin = start - plan.first
            pixels = source[:, begin : begin + len(block), left : left + step]
            np.matmul(block.T, pixels, out=result[:, place : place + block.shape[1], left : left + step])
    doubtful = _round(result, scratch[:, : result.shape[1]], plan.error)
    if len(doubtful[0]) > _MOST_DOUBTS * result.size:
        return False
    channel, output, column = doubtful
    taps = source[channel[:, None], plan.pixels[output] - plan.first, column[:, None]]
    result[doubtful] = _exact(taps, plan.weights[output])
    return True


def _round(values: Values, scratch: Values, error: float) -> tuple[NDArray[np.intp], ...]:
    """Rounds in place, to 0 to 255; the places of those which an error of the sum could have moved."""
    np.rint(values, out=scratch)
    values -= scratch
    doubtful = np.flatnonzero(np.abs(values, out=values) >= 0.5 - error)
    np.clip(scratch, 0, 255, out=values)
    return np.unravel_index(doubtful, values.shape)


def _exact(taps: Values, weights: NDArray[np.int64]) -> NDArray[np.int64]:
    sums = (taps.astype(np.int64) * weights).sum(axis=1)
    rounded: NDArray[np.int64] = ((sums + _UNIT // 2) // _UNIT).clip(0, 255)
    return rounded


@lru_cache(maxsize=64)
def _pass(length: int, new_length: int, first: int, stop: int, resample: int) -> Pass | None:
    """Outputs ``first`` to ``stop`` of ``length`` pixels made ``new_length``; None if Pillow's weights are not certain.

    The steps are those of Pillow's `precompute_coeffs`; a compiler may join two of them, so that the last bit differs.
    """
    scale = length / new_length
    support = _SUPPORT[resample] * scale
    center = (np.arange(first, stop) + 0.5) * scale  # [output]
    begin = np.maximum((center - support + 0.5).astype(np.intp), 0)
    end = np.minimum((center + support + 0.5).astype(np.intp), length)
    taps = np.arange((end - begin).max())  # [tap]
    pixels = begin[:, None] + taps  # [output, tap]
    real = _filter((pixels - center[:, None] + 0.5) * (1 / scale), resample)
    real[pixels >= end[:, None]] = 0
    real *= _UNIT / real.sum(axis=1, keepdims=True)
    whole = np.rint(real)
    if (np.abs(real - whole) > 0.5 - 1e-6).any():
        return None
    together = min(_TOGETHER, stop - first)
    places = np.minimum(np.arange(0, stop - first, together), stop - first - together)  # [block]
    window = int((end[places + together - 1] - begin[places]).max())
    starts = np.minimum(begin[places], length - window)
    blocks = np.zeros((len(places), window, together), np.float32)
    outputs = places[:, None] + np.arange(together)  # [block, output]
    rows = pixels[outputs] - starts[:, None, None]  # [block, output, tap]
    inside = rows < window
    block, output, _ = np.nonzero(inside)
    blocks[block, rows[inside], output] = whole[outputs][inside] / _UNIT
    # n products and additions, of numbers that float32 holds, are wrong by at most n * 2**-24 of the sum of the sizes.
    size = float(np.abs(whole).sum(axis=1).max()) / _UNIT * 255
    return Pass(
        starts.tolist(),
        places.tolist(),
        blocks,
        np.minimum(pixels, starts.max() + window - 1),
        whole.astype(np.int64),
        1.01 * len(taps) * 2**-24 * size,
    )


def _filter(distance: NDArray[np.float64], resample: int) -> NDArray[np.float64]:
    x = np.abs(distance)
    near: NDArray[np.float64] = np.maximum(1 - x, 0)
    if resample == Image.Resampling.BILINEAR:
        return near
    near = (1.5 * x - 2.5) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * -0.5
    return np.where(x < 1, near, np.where(x < 2, far, 0))


@cache
def _agrees_with_pillow(resample: int) -> bool:
    """Whether this Pillow does as described, on a picture of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (59, 83), np.uint8)
    rows, columns = range(2, 31), range(5, 40)
    across, down = _pass(83, 41, columns.start, columns.stop, resample), _pass(59, 31, rows.start, rows.stop, resample)
    if across is None or down is None:
        return False
    ours = _shrink([noise], across, down)
    theirs = Image.fromarray(noise).resize((41, 31), Image.Resampling(resample))
    return ours is not None and np.array_equal(ours[0], np.asarray(theirs)[2:31, 5:40])
