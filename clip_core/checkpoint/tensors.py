"""Tensors of checkpoint files that are read only when they are needed, and the views that conversions are made of."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from clip_core.errors import InputError

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
DType: TypeAlias = np.dtype[Any]

_STRIP = 16
_ALIGNMENT = 64  # bytes
_ASKS_FOR_HUGE_PAGES = 1 << 22  # bytes; from here on NumPy does, for which Linux may have to tidy its memory first
BFLOAT16: DType = np.dtype(ml_dtypes.bfloat16)
WEIGHT_DTYPES = {dtype.name: dtype for dtype in (np.dtype("<f8"), np.dtype("<f4"), np.dtype("<f2"), BFLOAT16)}
"""The dtypes that weights can have, by name."""


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor lie: a `clip_core.checkpoint.sources.SourceFile`, and from which byte on."""

    source: Any
    offset: int


@dataclass(frozen=True)
class Tensor:
    """An array that lies in a file: what it is, and how to read it.

    Attributes:
        dtype, shape: of the array.
        read: reads the array; nothing is kept, so the caller decides how long it stays in memory.
        fresh: whether reading gives an array that no other tensor has, which the caller may keep and write to.
        place: where a file has exactly its bytes, if one has.
    """

    dtype: DType
    shape: Shape
    read: Callable[[], Array]
    fresh: bool = False
    place: Place | None = None

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    def permuted(self, order: Sequence[int]) -> Tensor:
        """With its axes in another order."""
        if tuple(order) == tuple(range(len(self.shape))):
            return self
        shape = tuple(self.shape[axis] for axis in order)
        return Tensor(self.dtype, shape, lambda: np.transpose(self.read(), order))

    def reshaped(self, shape: Shape) -> Tensor:
        """With another shape of the same size."""
        if shape == self.shape:
            return self
        return Tensor(self.dtype, shape, lambda: self.read().reshape(shape), self.fresh, self.place)

    def part(self, index: int, count: int) -> Tensor:
        """One of ``count`` equal parts along the first axis."""
        rows = self.shape[0] // count
        return Tensor(self.dtype, (rows, *self.shape[1:]), lambda: self.read()[index * rows : (index + 1) * rows])

    def cast(self, dtype: DType, name: str) -> Tensor:
        """In another dtype; a finite value that would become infinite raises `InputError`."""
        return self if dtype == self.dtype else Tensor(dtype, self.shape, lambda: _cast(self.read(), dtype, name))


def _cast(value: Array, dtype: DType, name: str) -> Array:
    with np.errstate(over="ignore"):
        cast = value.astype(dtype, order="C")
    if np.isinf(cast).any() and not np.isinf(value).any():
        raise InputError(f"{name}: holds values beyond the range of {dtype.name}. Convert to bfloat16 or float32.")
    return cast


def empty(shape: Shape, dtype: DType) -> Array:
    """A new array that begins at a multiple of 64 bytes, where XLA and TensorFlow take memory over without a copy."""
    count = math.prod(shape) * dtype.itemsize
    if count >= _ASKS_FOR_HUGE_PAGES and hasattr(mmap, "MAP_ANONYMOUS"):
        try:
            memory = mmap.mmap(-1, count, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:  # too many mappings, or no memory, which NumPy says
            pass
        else:
            return np.frombuffer(memory, dtype).reshape(shape)
    return passing(shape, dtype)


def passing(shape: Shape, dtype: DType) -> Array:
    """As `empty`, for an array that is soon let go: the next one gets its memory, which the system has cleared."""
    count = math.prod(shape) * dtype.itemsize
    memory = np.empty(count + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + count].view(dtype).reshape(shape)


def contiguous(value: Array) -> Array:
    """The array in row-major order; a new one is as of `empty`.

    A transposed array is copied in strips, so that the cache lines that one row of a strip reads serve the next rows
    too: two to seven times as fast as NumPy's own way on the shapes of attention and MLP.
    """
    if value.ndim < 2 or value.flags.c_contiguous:
        return np.asarray(value, order="C")
    copy = empty(value.shape, value.dtype)
    for start in range(0, value.shape[-1], _STRIP):
        copy[..., start : start + _STRIP] = value[..., start : start + _STRIP]
    return copy


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Tensors of one dtype, one after the other along the first axis."""
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    return Tensor(parts[0].dtype, shape, lambda: np.concatenate([part.read() for part in parts]))


def constant(value: Array) -> Tensor:
    """An array that is in memory already."""
    return Tensor(value.dtype, value.shape, lambda: value)


def row_major(shape: Shape) -> Shape:
    """Strides, in elements, of an array whose last axis is contiguous."""
    strides = []
    step = 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))
