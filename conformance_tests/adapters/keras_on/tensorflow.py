"""Keras on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from conformance_tests.adapter import Arrays, converted, loss_of

tf.config.experimental.enable_tensor_float_32_execution(False)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)  # for two replicas

ON_DEVICE = bool(tf.config.list_physical_devices("GPU"))
to_tensor = tf.constant


def gradients(model: Any, inputs: Arrays, interpolated: bool, training: bool = False) -> list[Any]:
    """The gradient of the loss by every trainable variable, with ``tf.GradientTape``."""
    values = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        tensors = converted(inputs, to_tensor)
        options = {**loss_of(inputs), "interpolate_pos_encoding": interpolated, "training": training}
        loss = model(**tensors, **options).loss
    found = tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(gradient) for gradient in found]  # of embeddings they are sparse


def global_loss(make_model: Callable[[], Any], inputs: Arrays) -> Any:
    """The sum of the shares of a mirrored strategy's two replicas."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        mirrored = make_model()
    halves = [converted({k: np.array_split(v, 2)[half] for k, v in inputs.items()}, to_tensor) for half in range(2)]
    batch = strategy.experimental_distribute_values_from_function(
        lambda context: halves[context.replica_id_in_sync_group]
    )
    shares = tf.function(strategy.run)(lambda batch: mirrored(**batch, return_loss=True).loss, args=(batch,))
    return strategy.reduce("SUM", shares, axis=None)


def restored(model: Any, other: Any, directory: Path) -> Any:
    """The other model after `tf.train.Checkpoint`."""
    path = tf.train.Checkpoint(model=model).write(str(directory / "checkpoint"))
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    return other


def compiled(model: Any, inputs: Arrays) -> Any:
    """What the model returns in a ``tf.function``, compiled by XLA."""
    return tf.function(model, jit_compile=True)(**converted(inputs, to_tensor))


def exported(model: Any, inputs: Arrays, directory: Path) -> Any:
    """What the model returns as a SavedModel."""
    model.export(str(directory / "saved_model"), verbose=False)
    tensors = converted(inputs, to_tensor)
    narrow = {name: tf.cast(value, tf.int32) if value.dtype == tf.int64 else value for name, value in tensors.items()}
    loaded = tf.saved_model.load(str(directory / "saved_model"))  # owns the variables: it must outlive the call
    return loaded.serve(narrow)
