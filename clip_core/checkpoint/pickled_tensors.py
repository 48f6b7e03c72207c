"""Tensors as pickles of torch describe them: views of storages, checked against these."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from clip_core.checkpoint.tensors import BFLOAT16, DType, Shape

STORAGES: dict[str, DType] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": BFLOAT16,
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
"""The storage classes of ``torch`` and what their elements are."""
_MAX_EXPANDED_BYTES = 2**28
OTHER_DTYPE_ADVICE = (
    "Weights are float32, float64, bfloat16 or float16. Give them such a dtype with the library that wrote them, "
    "value.to(torch.bfloat16) in torch, times their scales if it keeps any, and save them again."
)


@dataclass(frozen=True)
class Storage:
    """A run of numbers that tensors share: the archive's key for it, what the elements are and how many."""

    key: str
    dtype: DType
    size: int


@dataclass(frozen=True)
class StridedTensor:
    """A tensor as a view of a storage; offset and strides count elements, and a negated one has the opposite sign."""

    storage: Storage
    offset: int
    shape: Shape
    strides: Shape
    negated: bool = False


def is_natural(value: Any) -> bool:
    """Whether it is a number of things, which fits 63 bits."""
    return type(value) is int and 0 <= value < 2**63


def strided_tensor(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any = None, _hooks: Any = None, metadata: Any = None
) -> StridedTensor:
    """What ``torch._utils._rebuild_tensor_v2`` makes of these arguments.

    Raises:
        ValueError: no view of the storage, or one that is expanded to an unreasonable size.
    """
    if not isinstance(storage, Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("a tensor that is no view of a storage")
    if len(shape) != len(strides) or len(shape) > 32 or not all(map(is_natural, (offset, *shape, *strides))):
        raise ValueError("a tensor with a malformed shape, offset or strides")
    count = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if count and last >= storage.size:
        raise ValueError(f"a tensor {shape} that needs more than the {storage.size} elements of its storage")
    if count > storage.size and count * storage.dtype.itemsize > _MAX_EXPANDED_BYTES:
        raise ValueError(
            f"a tensor {shape} expanded from {storage.size} elements; call contiguous() on it before it is saved"
        )
    return StridedTensor(storage, offset, shape, strides, _is_negated(metadata, storage.dtype))


def _is_negated(metadata: Any, dtype: DType) -> bool:
    """Whether torch negates what it reads: ``torch.Tensor._neg_view`` and the imaginary part of a conjugate."""
    if metadata is None or metadata == {}:
        return False
    if metadata != {"neg": True} or dtype == np.dtype("?"):
        raise ValueError("a tensor that torch would change in an unknown way after reading it")
    return True


def parameter(data: Any, *_: Any) -> StridedTensor:
    """What ``torch._utils._rebuild_parameter`` makes of its arguments."""
    if not isinstance(data, StridedTensor):
        raise ValueError("a parameter that is no tensor")
    return data
