"""Text towers: ids padded to 77, as every tokenizer for CLIP pads them, to embeddings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import limits, towers
from benchmarks.materials import END_OF_TEXT, read_captions
from benchmarks.row import Case, Row, Side

TOKENS = 77


def ids(folder: Path, case: Case) -> Any:
    """Token ids ``[batch, token]``: of captions, of as many tokens as they have, or random ones that fill all 77."""
    import numpy as np

    if case["lengths"] == "natural":
        from clip_core.tokenizer.clip import CLIPTokenizer

        texts = read_captions(folder)[: case["batch"]]
        tokens = CLIPTokenizer()(texts, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="np")
        return tokens["input_ids"].astype(np.int64)
    found = np.random.default_rng(0).integers(0, 49000, (case["batch"], TOKENS))
    found[:, -1] = END_OF_TEXT
    return found


def side(make: Callable[..., towers.Tower], *more: str) -> Callable[[Path, Case], Any]:
    """A side's function."""

    def function(folder: Path, case: Case) -> Any:
        tower, value = make(folder, "text", *more), ids(folder, case)
        return lambda: tower(value)

    return function


transformers_torch = side(towers.transformers_torch)
transformers_tf = side(towers.transformers_tf)
transformers_flax = side(towers.transformers_flax)
open_clip = side(towers.open_clip)
keras_hub = side(towers.keras_hub)
onnxruntime = side(towers.onnxruntime)
openvino = side(towers.openvino)
triclip_torch = side(towers.triclip_torch)
triclip_tf = side(towers.triclip_tf)
triclip_tf_function = side(towers.triclip_tf_function)
triclip_flax = side(towers.triclip_flax)
triclip_flax_jit = side(towers.triclip_flax_jit)
triclip_onnx = side(towers.encoder, "onnx")


def limit(folder: Path, case: Case) -> Any:
    """The tower's products for the tokens up to each text's end, as fast as this computer multiplies matrices."""
    from clip_core import CLIPConfig

    lengths = 1 + (ids(folder, case) == END_OF_TEXT).argmax(axis=1)
    config = CLIPConfig().text_config
    return limits.product("float32", sum(limits.operations(config, 1, length) for length in lengths.tolist()))


ROW = Row(
    name="text",
    title="Text tower",
    cases=[
        {"lengths": "natural", "batch": 1},
        {"lengths": "natural", "batch": 8},
        {"lengths": "all 77", "batch": 8},
    ],
    sides={
        "transformers torch": Side(function="transformers_torch"),
        "transformers TF": Side(function="transformers_tf"),
        "transformers Flax": Side(function="transformers_flax"),
        "open_clip": Side(function="open_clip"),
        "keras-hub": Side(function="keras_hub", environment={"KERAS_BACKEND": "tensorflow"}),
        "ONNX Runtime": Side(function="onnxruntime"),
        "OpenVINO": Side(function="openvino"),
        "triclip torch": Side(function="triclip_torch"),
        "triclip tf": Side(function="triclip_tf"),
        "triclip tf, tf.function": Side(function="triclip_tf_function"),
        "triclip flax": Side(function="triclip_flax"),
        "triclip flax, jit": Side(function="triclip_flax_jit"),
        "triclip onnx": Side(function="triclip_onnx"),
        "limit: products of the real tokens": Side(function="limit"),
    },
    materials=("hf", "open_clip", "keras_hub", "onnx", "captions"),
    group="lengths",
    within=1e-3,
)
