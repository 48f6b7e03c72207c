"""Weights by name that are read when they are asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.mapping import MappedFiles, mapped
from clip_core.checkpoint.tensors import DType, Tensor
from clip_core.errors import InputTypeError
from clip_core.weights import Layout


class LazyWeights(Mapping[str, NDArray[Any]]):
    """Weights by name that are read when they are asked for."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def tensor(self, name: str) -> Tensor:
        """Dtype and shape of a weight, without touching its data."""
        return self._tensors[name]

    def layout(self) -> Layout:
        """Dtype and shape of every weight."""
        return {name: (tensor.dtype, tensor.shape) for name, tensor in self._tensors.items()}

    def mapped(self, dtype: DType) -> tuple[LazyWeights, MappedFiles]:
        """The weights, those of a dtype in mappings of their files where that can be, and these files."""
        tensors, files = mapped(self._tensors, dtype)
        return LazyWeights(tensors), files

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def lazy_weights(weights: Mapping[str, Any], names: Mapping[str, str]) -> LazyWeights:
    """Weights in memory, which `layout_of` has passed, under other names: from new name to name."""
    found = {new: weights[name] for new, name in names.items()}
    return LazyWeights(
        {new: Tensor(value.dtype, tuple(value.shape), partial(np.asarray, value)) for new, value in found.items()}
    )


def layout_of(weights: Mapping[str, Any]) -> Layout:
    """Dtype and shape of weights in memory or in a checkpoint.

    Raises:
        InputTypeError: not a mapping from names to arrays of NumPy or JAX.
    """
    if isinstance(weights, LazyWeights):
        return weights.layout()
    if not isinstance(weights, Mapping):
        raise InputTypeError(
            f"weights: expected a mapping from names to NumPy arrays, got {type(weights).__name__}. "
            "Pass a dict, such as dict(model.named_weights())."
        )
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(getattr(value, "dtype", None), np.dtype):
            raise InputTypeError(
                f"weights: expected names with NumPy arrays, got {type(value).__name__} for {name!r}. "
                "Convert it to a NumPy array."
            )
    return {name: (value.dtype, tuple(value.shape)) for name, value in weights.items()}


def common_dtype(layout: Layout) -> str:
    """The dtype that most bytes have, as ``config.json`` names it."""
    sizes: defaultdict[str, int] = defaultdict(int)
    for dtype, shape in layout.values():
        sizes[dtype.name] += int(np.prod(shape)) * dtype.itemsize
    return max(sizes, key=lambda name: sizes[name])
