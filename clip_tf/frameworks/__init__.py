"""What `keras.ops` leaves to the framework that Keras runs on: a module for each, with the same functions.

Only the one of Keras' backend is imported, so that Keras on JAX or PyTorch needs no TensorFlow.
"""

from importlib import import_module
from typing import Any

import keras

NAMES = ("tensorflow", "jax", "torch")
"""The backends of Keras that run the models."""

framework: Any = import_module(f"clip_tf.frameworks.{keras.backend.backend()}")
