"""Image towers: pixel values to embeddings, in float32, bfloat16 and int8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import limits, towers
from benchmarks.row import Case, Row, Side

SIDE = 224


def pixels(batch: int) -> Any:
    """Pixel values ``[batch, channel, height, width]``, distributed as normalised ones are."""
    import numpy as np

    return np.random.default_rng(batch).standard_normal((batch, 3, SIDE, SIDE), np.float32)


def _call(tower: towers.Tower, case: Case) -> Callable[[], Any]:
    value = pixels(case["batch"])
    return lambda: tower(value)


def of_dtype(dtype: str, make: Callable[..., towers.Tower], *more: str) -> Callable[[Path, Case], Any]:
    """A side that has one dtype only."""

    def side(folder: Path, case: Case) -> Any:
        return _call(make(folder, "image", *more), case) if case["dtype"] == dtype else None

    return side


def transformers_torch(folder: Path, case: Case) -> Any:
    """In float32 whatever the case: the first side, which others are compared with."""
    return _call(towers.transformers_torch(folder, "image"), case)


transformers_torch_bfloat16 = of_dtype("bfloat16", towers.transformers_torch_bfloat16)
transformers_tf = of_dtype("float32", towers.transformers_tf)
transformers_flax = of_dtype("float32", towers.transformers_flax)
open_clip = of_dtype("float32", towers.open_clip)
keras_hub = of_dtype("float32", towers.keras_hub)
onnxruntime = of_dtype("float32", towers.onnxruntime)
onnxruntime_int8 = of_dtype("int8", towers.onnxruntime_int8)
openvino = of_dtype("float32", towers.openvino)
openvino_bfloat16 = of_dtype("bfloat16", towers.openvino_bfloat16)
triclip_tf_function = of_dtype("float32", towers.triclip_tf_function)
triclip_flax_jit = of_dtype("float32", towers.triclip_flax_jit)


def operations(case: Case) -> float:
    """Of the tower's products, additions and multiplications counted apart."""
    from clip_core import CLIPConfig

    return limits.operations(CLIPConfig().vision_config, case["batch"])


def limit(folder: Path, case: Case) -> Any:
    """The tower's products alone, as fast as this computer multiplies matrices."""
    return limits.product(case["dtype"], operations(case))


def triclip_torch(folder: Path, case: Case) -> Any:
    return _ours(folder, case, towers.triclip_torch, "torch")


def triclip_tf(folder: Path, case: Case) -> Any:
    return _ours(folder, case, towers.triclip_tf, "tf")


def triclip_flax(folder: Path, case: Case) -> Any:
    return _ours(folder, case, towers.triclip_flax, "flax")


def triclip_onnx(folder: Path, case: Case) -> Any:
    return _call(towers.encoder(folder, "image", "onnx", case["dtype"]), case)


def _ours(folder: Path, case: Case, model: Callable[[Path, str], towers.Tower], backend: str) -> Any:
    """The model itself in float32; what only `triclip.load` offers through that."""
    if case["dtype"] == "float32":
        return _call(model(folder, "image"), case)
    if case["dtype"] == "int8" and backend != "torch":
        return None  # only in PyTorch, and in ONNX Runtime
    return _call(towers.encoder(folder, "image", backend, case["dtype"]), case)


ROW = Row(
    name="image",
    title="Image tower",
    cases=[{"dtype": dtype, "batch": batch} for dtype in ("float32", "bfloat16", "int8") for batch in (1, 8, 32)],
    sides={
        "transformers torch": Side(function="transformers_torch"),
        "transformers torch, autocast": Side(function="transformers_torch_bfloat16"),
        "transformers TF": Side(function="transformers_tf"),
        "transformers Flax": Side(function="transformers_flax"),
        "open_clip": Side(function="open_clip"),
        "keras-hub": Side(function="keras_hub", environment={"KERAS_BACKEND": "tensorflow"}),
        "ONNX Runtime": Side(function="onnxruntime"),
        "ONNX Runtime, int8": Side(function="onnxruntime_int8"),
        "OpenVINO": Side(function="openvino"),
        "OpenVINO, bfloat16": Side(function="openvino_bfloat16"),
        "triclip torch": Side(function="triclip_torch"),
        "triclip tf": Side(function="triclip_tf"),
        "triclip tf, tf.function": Side(function="triclip_tf_function"),
        "triclip flax": Side(function="triclip_flax"),
        "triclip flax, jit": Side(function="triclip_flax_jit"),
        "triclip onnx": Side(function="triclip_onnx"),
        "limit: matrix products alone": Side(function="limit"),
    },
    materials=("hf", "open_clip", "keras_hub", "onnx"),
    needs={"bfloat16": ("avx512_bf16", "amx_bf16", "bf16")},
    group="dtype",
    operations=operations,
    within=1e-3,
    cosine={"bfloat16": 0.999, "int8": 0.99},
)
