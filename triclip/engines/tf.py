"""`clip_tf` for the encoder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from clip_core.errors import BackendError
from clip_tf import TFCLIPModel
from triclip.engines import Vectors
from triclip.engines.devices import choose_device


class TFEngine:
    """An `Engine` on TensorFlow; from its second call on, a tower is a graph, traced anew for another size of batch."""

    def __init__(self, model: TFCLIPModel, device: str) -> None:
        self.model, self.device = model, device
        self.dtype = model.compute_dtype
        self._image_features = _graph_from_second_call(model.get_image_features)
        self._text_features = _graph_from_second_call(model.get_text_features)

    @classmethod
    def open(cls, directory: Path, device: str | None, dtype: str) -> Self:
        _check_framework()
        device = choose_device(device, _devices())
        with tf.device(_tf_name(device)):
            return cls(TFCLIPModel.from_directory(directory, dtype=dtype), device)

    @classmethod
    def of(cls, model: TFCLIPModel) -> Self:
        _check_framework()
        return cls(model, model.weights[0].value.device.lower().rpartition("device:")[2])

    def image_features(self, pixel_values: NDArray[np.float32]) -> Vectors:
        with self._on_device():
            return _array(self._image_features(tf.constant(pixel_values)))

    def text_features(self, input_ids: NDArray[Any], attention_mask: NDArray[Any] | None) -> Vectors:
        with self._on_device():
            mask = None if attention_mask is None else tf.constant(attention_mask, tf.int32)
            return _array(self._text_features(tf.constant(input_ids, tf.int32), mask))

    def logit_scale(self) -> np.float32:
        return np.float32(self.model.logit_scale.numpy())

    def _on_device(self) -> Any:
        return tf.device(_tf_name(self.device))


def _graph_from_second_call(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that runs as it stands the first time: to trace a tower takes as long as to call it some five times.

    Whoever asks for one batch, as for the labels of a classifier or for one picture, has nothing of the graph.
    """
    graph = tf.function(function, reduce_retracing=True)
    was_called = False

    def call(*arguments: Any) -> Any:
        nonlocal was_called
        compute, was_called = graph if was_called else function, True
        return compute(*arguments)

    return call


def _check_framework() -> None:
    if keras.backend.backend() != "tensorflow":
        raise BackendError(
            f"backend tf: expected Keras to run on TensorFlow, got {keras.backend.backend()!r}. Set the variable "
            "KERAS_BACKEND=tensorflow of the environment, or choose the backend torch or flax."
        )


def _tf_name(device: str) -> str:
    return f"/{device.upper()}"


def _array(tensor: Any) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tf.cast(tensor, tf.float32).numpy()
    return values


def _devices() -> list[str]:
    """In the order in which TensorFlow prefers them."""
    counts = {kind: len(tf.config.list_logical_devices(kind)) for kind in ("TPU", "GPU", "CPU")}
    return [f"{kind.lower()}:{number}" for kind, count in counts.items() for number in range(count)]
