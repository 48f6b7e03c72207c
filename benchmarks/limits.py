"""What the computer can do: products of matrices, which towers are made of, in each dtype."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

WIDTH = 1024
"""Of the square matrix on the right; rows come in blocks that fit the caches of a server."""
MOST_ROWS = 4096


def operations(config: Any, batch: int, tokens: int | None = None) -> float:
    """Floating-point operations in the products of a tower's blocks and of its patches.

    Args:
        config: of an image tower, or of a text tower.
        tokens: how many there are; all that the tower has unless given.
    """
    text = hasattr(config, "max_position_embeddings")
    if tokens is None:
        tokens = config.max_position_embeddings if text else config.patches_per_side**2 + 1
    width, inner = config.hidden_size, config.intermediate_size
    block = 2 * tokens * (4 * width * width + 2 * width * inner) + 4 * tokens * tokens * width
    patches = 0 if text else 2 * tokens * 3 * config.patch_size**2 * width
    return float(batch * (config.num_hidden_layers * block + patches))


def product(dtype: str, count: float) -> Callable[[], None]:
    """Products of matrices with as many operations; nothing is returned, for it is no side's work."""
    rows = max(1, round(count / (2 * WIDTH * WIDTH)))
    repeated = -(-rows // MOST_ROWS)
    multiply = _MULTIPLY[dtype](round(rows / repeated))

    def run() -> None:
        for _ in range(repeated):
            multiply()

    return run


def _float32(rows: int) -> Callable[[], Any]:
    left, right = (np.random.default_rng(0).random((n, WIDTH), np.float32) for n in (rows, WIDTH))
    out = np.empty_like(left)
    return lambda: np.matmul(left, right, out=out)


def _bfloat16(rows: int) -> Callable[[], Any]:
    import torch

    left, right = (torch.randn(n, WIDTH, dtype=torch.bfloat16) for n in (rows, WIDTH))
    return lambda: torch.mm(left, right)


def _int8(rows: int) -> Callable[[], Any]:
    """By ONNX Runtime, which has kernels for more processors than others."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(0)
    left = generator.integers(0, 256, (rows, WIDTH), np.uint8)
    right = numpy_helper.from_array(generator.integers(-128, 128, (WIDTH, WIDTH), np.int8), "right")
    given = helper.make_tensor_value_info("left", TensorProto.UINT8, [None, WIDTH])
    made = helper.make_tensor_value_info("out", TensorProto.INT32, [None, WIDTH])
    node = helper.make_node("MatMulInteger", ["left", "right"], ["out"])
    graph = helper.make_graph([node], "product", [given], [made], [right])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return lambda: session.run(None, {"left": left})


_MULTIPLY = {"float32": _float32, "bfloat16": _bfloat16, "int8": _int8}
