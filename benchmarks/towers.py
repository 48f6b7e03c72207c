"""The towers of every library, as their documentation has them called: an array in, an array out.

Every function gives a `Tower` by ``kind``, ``"image"`` or ``"text"``: it takes pixel values ``[batch, channel, height,
width]`` or token ids ``[batch, token]`` and returns projected embeddings ``[batch, embed]`` as a NumPy array. Models
are opened once in a process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.materials import END_OF_TEXT

Tower = Callable[[Any], Any]
METHODS = {"image": "get_image_features", "text": "get_text_features"}


def import_triton() -> None:
    """To be called before TensorFlow is imported where torch will be too: builds of torch for CUDA crash otherwise."""
    with suppress(ImportError):
        import_module("triton")


def _threads() -> int:
    return len(os.sched_getaffinity(0))


def _torch(model: Any, method: str, autocast: bool = False) -> Tower:
    import torch

    def tower(value: Any) -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return getattr(model, method)(torch.from_numpy(value)).float().numpy()

    return tower


@cache
def _transformers_torch(folder: Path) -> Any:
    import transformers

    return transformers.CLIPModel.from_pretrained(folder / "hf").eval()


def transformers_torch(folder: Path, kind: str) -> Tower:
    return _torch(_transformers_torch(folder), METHODS[kind])


def transformers_torch_bfloat16(folder: Path, kind: str) -> Tower:
    return _torch(_transformers_torch(folder), METHODS[kind], autocast=True)


@cache
def _transformers_tf(folder: Path) -> Any:
    import_triton()
    import transformers

    return transformers.TFCLIPModel.from_pretrained(folder / "hf", from_pt=True)


def transformers_tf(folder: Path, kind: str) -> Tower:
    return _tf_function(_transformers_tf(folder), kind)


def _tf_function(model: Any, kind: str) -> Tower:
    """As users of TensorFlow run models: compiled, without XLA."""
    import tensorflow as tf

    function = tf.function(lambda value: getattr(model, METHODS[kind])(value))
    return lambda value: function(tf.constant(value)).numpy()


@cache
def _transformers_flax(folder: Path) -> Any:
    import transformers

    return transformers.FlaxCLIPModel.from_pretrained(folder / "hf", from_pt=True)


def transformers_flax(folder: Path, kind: str) -> Tower:
    return _jitted(_transformers_flax(folder), kind)


def _jitted(model: Any, kind: str) -> Tower:
    """As users of transformers' Flax models run them: compiled, weights an argument."""
    import jax

    function = jax.jit(lambda params, value: getattr(model, METHODS[kind])(value, params=params))
    params = model.params
    return lambda value: np.asarray(function(params, value))


@cache
def _open_clip(folder: Path) -> Any:
    import open_clip

    return open_clip.create_model(f"local-dir:{folder.absolute() / 'open_clip'}").eval()


def open_clip(folder: Path, kind: str) -> Tower:
    """It knows the end of a text as the largest id, which it is here."""
    return _torch(_open_clip(folder), f"encode_{kind}")


@cache
def _keras_hub(folder: Path) -> Any:
    import keras_hub

    return keras_hub.models.CLIPBackbone.from_preset(str(folder / "keras_hub"))


def keras_hub(folder: Path, kind: str) -> Tower:
    """Pictures have their channels last there."""
    import tensorflow as tf

    model = _keras_hub(folder)
    if kind == "text":
        function = tf.function(model.get_text_embeddings)
        return lambda value: function(tf.constant(value, tf.int32)).numpy()
    function = tf.function(model.get_vision_embeddings)
    last: dict[int, Any] = {}

    def tower(value: Any) -> Any:
        if id(value) not in last:
            last.clear()
            last[id(value)] = np.ascontiguousarray(value.transpose(0, 2, 3, 1))
        return function(tf.constant(last[id(value)])).numpy()

    return tower


def onnxruntime(folder: Path, kind: str, suffix: str = "") -> Tower:
    """Transformers' model as ``torch.onnx.export`` writes it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = _threads()
    session = onnxruntime.InferenceSession(folder / "onnx" / f"{kind}{suffix}.onnx", options)
    return lambda value: session.run(None, {"value": value})[0]


def onnxruntime_int8(folder: Path, kind: str) -> Tower:
    """The same with ONNX Runtime's own dynamic quantisation of all weights."""
    return onnxruntime(folder, kind, "-int8")


def openvino(folder: Path, kind: str, precision: str = "f32", suffix: str = "") -> Tower:
    """The same file; without the hint OpenVINO chooses bfloat16 where the processor has it."""
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": _threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.Core().compile_model(folder / "onnx" / f"{kind}{suffix}.onnx", "CPU", settings)
    return lambda value: model([value])[0]


def openvino_bfloat16(folder: Path, kind: str) -> Tower:
    return openvino(folder, kind, "bf16")


@cache
def _triclip_torch(folder: Path) -> Any:
    import clip_torch

    return clip_torch.CLIPModel.from_pretrained(folder / "hf")


def triclip_torch(folder: Path, kind: str) -> Tower:
    return _torch(_triclip_torch(folder), METHODS[kind])


@cache
def _triclip_tf(folder: Path) -> Any:
    import clip_tf

    return clip_tf.TFCLIPModel.from_pretrained(folder / "hf")


def triclip_tf(folder: Path, kind: str) -> Tower:
    """The call that a user writes first, with nothing around it."""
    import tensorflow as tf

    method = getattr(_triclip_tf(folder), METHODS[kind])
    return lambda value: method(tf.constant(value)).numpy()


def triclip_tf_function(folder: Path, kind: str) -> Tower:
    return _tf_function(_triclip_tf(folder), kind)


@cache
def _triclip_flax(folder: Path) -> Any:
    import clip_flax

    return clip_flax.FlaxCLIPModel.from_pretrained(folder / "hf")


def triclip_flax(folder: Path, kind: str) -> Tower:
    """The call that a user writes first, with nothing around it."""
    method = getattr(_triclip_flax(folder), METHODS[kind])
    return lambda value: np.asarray(method(value))


def triclip_flax_jit(folder: Path, kind: str) -> Tower:
    return _jitted(_triclip_flax(folder), kind)


@cache
def _encoder(folder: Path, backend: str, dtype: str) -> Any:
    import triclip

    return triclip.load(folder / "hf", backend, device="cpu", dtype=dtype)


def encoder(folder: Path, kind: str, backend: str, dtype: str = "float32") -> Tower:
    """`triclip.load`, given what is prepared already; it has each result checked for NaN."""
    loaded = _encoder(folder, backend, dtype)
    if kind == "image":
        return lambda value: loaded.encode_pixels(value, normalize=False)
    engine = loaded._engine

    def tower(ids: Any) -> Any:
        ends = (ids == END_OF_TEXT).argmax(axis=1)
        return engine.text_features(ids, (np.arange(ids.shape[1]) <= ends[:, None]).astype(np.int64))

    return tower
