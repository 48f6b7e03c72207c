"""Linear layers in int8: weights rounded once, per output channel; inputs in each run, by their range."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_onnx.graph import Graph

LARGEST = 64
"""Of a weight in int8. Without VNNI, processors add two products of a uint8 and an int8 in 16 bits, which hold no more
than ``2 * 255 * 64``: larger weights would saturate there, without a word."""


def is_quantized(path: str) -> bool:
    """Whether a linear layer is in int8 where others are.

    The projections to the shared space are not: what is pooled of a bad text is NaN, and rounding would make a number
    of it.
    """
    return not path.endswith("_projection")


def quantized(weight: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """``[out, in]`` of finite numbers in int8 as ``[in, out]``, and the step of each output channel ``[out]``."""
    largest = np.abs(weight).max(axis=1)
    step = np.where(largest == 0, 1, largest / LARGEST).astype(np.float32)
    return np.ascontiguousarray(np.rint(weight / step[:, None]).astype(np.int8).T), step


def quantized_linear(graph: Graph, path: str, x: str, bias: bool = True) -> str:
    """A dense layer, ``[row, in]`` to ``[row, out]``."""
    name = f"{path}.weight"
    integers, step = quantized(graph.weights[name])
    weight = graph.constant(integers, "int8", f"{name}:int8")
    narrow, scale, zero = graph.add_several("DynamicQuantizeLinear", x, called=graph.named("integers", "scale", "zero"))
    y = graph.cast(graph.add("MatMulInteger", narrow, weight, zero), "float32")
    y = graph.add("Mul", y, graph.add("Mul", scale, graph.constant(step, name=f"{name}:step")))
    return graph.add("Add", y, graph.weight(f"{path}.bias")) if bias else y


def as_quantized(weight: NDArray[Any]) -> NDArray[np.float32]:
    """What is left of ``[out, in]`` after rounding, in float32; rounding that again changes nothing."""
    integers, step = quantized(weight)
    return np.ascontiguousarray(integers.T * step[:, None])
