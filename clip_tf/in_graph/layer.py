"""What both layers have: tensors of TensorFlow as they are, on every framework of Keras, and errors in the graph."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


class GraphLayer(keras.layers.Layer):
    """A layer without weights that computes with TensorFlow, whatever Keras runs on."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._convert_input_args = False  # by Keras, into tensors of its own framework
        self._allow_non_tensor_positional_args = True
        self.built = True


def require(good: Any, message: str, shown: Any) -> Any:
    """An operation that raises tf.errors.InvalidArgumentError with what is shown unless all is good, served or not."""
    return tf.debugging.Assert(tf.reduce_all(good), [message, *shown])
