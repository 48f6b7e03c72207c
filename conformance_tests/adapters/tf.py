"""`clip_tf` for the suite."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

import clip_tf
from conformance_tests.adapter import CLASSES, Arrays, converted, part

ON_DEVICE = bool(tf.config.list_physical_devices("GPU"))

tf.config.experimental.enable_tensor_float_32_execution(False)
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)  # for two replicas


def model_class(kind: str) -> Any:
    """The class of a kind of model."""
    return getattr(clip_tf, f"TF{CLASSES[kind]}")


def build(kind: str, config: Any, weights: Arrays | None, *, dtype: str = "float32", seed: int = 0) -> Any:
    """A model, which in Keras evaluates unless called with ``training=True``."""
    return model_class(kind)(config, seed=seed, dtype=dtype, weights=weights)


def load(kind: str, directory: Path, *, dtype: str | None = None) -> Any:
    """A model from a checkpoint directory."""
    return model_class(kind).from_pretrained(directory, dtype=dtype)


def save(model: Any, directory: Path, *, max_shard_size: int | str = "5GB") -> None:
    """Writes a checkpoint directory."""
    model.save_pretrained(directory, max_shard_size=max_shard_size)


def weights(model: Any) -> Arrays:
    """All weights, in the order of the weight table."""
    return {name: np.array(value) for name, value in model.named_weights().items()}


def to_array(value: Any) -> NDArray[Any]:
    """The values of a tensor."""
    return np.asarray(tf.convert_to_tensor(value).numpy())


def call(model: Any, path: str, *inputs: Any, **named_inputs: Any) -> Any:
    """What a part of the model returns; by name, since Keras takes nothing but tensors by position."""
    target = part(model, path)
    signature = inspect.signature(target.call if isinstance(target, keras.Layer) else target)
    named = signature.bind(*converted(inputs, tf.constant), **converted(named_inputs, tf.constant)).arguments
    return target(**named)


def gradients(model: Any, inputs: Arrays, *, interpolate_pos_encoding: bool = False) -> Arrays:
    """The gradient of the loss by every weight."""
    differentiated = _copy(model)
    found = _gradients(differentiated, inputs, interpolate_pos_encoding)
    for variable, gradient in zip(differentiated.trainable_variables, found, strict=True):
        variable.assign(gradient)
    return weights(differentiated)


def step(model: Any, inputs: Arrays, rule: str, learning_rate: float, epsilon: float) -> Arrays:
    """The weights after one step of Keras' optimiser."""
    trained = _copy(model)
    if rule == "sgd":
        optimizer: Any = keras.optimizers.SGD(learning_rate)
    else:  # Keras adds epsilon to the root of the second moment before correcting it for its start at 0
        optimizer = keras.optimizers.Adam(learning_rate, beta_2=0.999, epsilon=epsilon * (1 - 0.999) ** 0.5)
    optimizer.apply(_gradients(trained, inputs), trained.trainable_variables)
    return weights(trained)


def _copy(model: Any) -> Any:
    return type(model)(model.config, dtype=model.dtype_policy, weights=weights(model))


def _gradients(model: Any, inputs: Arrays, interpolated: bool = False) -> list[Any]:
    values = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        tensors = converted(inputs, tf.constant)
        loss = model(**tensors, return_loss=True, interpolate_pos_encoding=interpolated).loss
    found = tape.gradient(loss, values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return [tf.convert_to_tensor(gradient) for gradient in found]  # of embeddings they are sparse


def global_loss(model: Any, inputs: Arrays) -> NDArray[Any]:
    """The sum of the shares of a mirrored strategy's two replicas."""
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        mirrored = _copy(model)
    halves = [converted({k: np.array_split(v, 2)[half] for k, v in inputs.items()}, tf.constant) for half in range(2)]
    batch = strategy.experimental_distribute_values_from_function(
        lambda context: halves[context.replica_id_in_sync_group]
    )
    shares = tf.function(strategy.run)(lambda batch: mirrored(**batch, return_loss=True).loss, args=(batch,))
    return to_array(strategy.reduce("SUM", shares, axis=None))


def adapted(model: Any) -> Any:
    """The model with Keras' LoRA on a projection."""
    model.text_projection.enable_lora(1)
    model.text_projection.lora_kernel_b.assign(tf.ones_like(model.text_projection.lora_kernel_b))
    return model


def restored(model: Any, other: Any, directory: Path) -> Any:
    """The other model after `tf.train.Checkpoint`."""
    path = tf.train.Checkpoint(model=model).write(str(directory / "checkpoint"))
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    return other


def compiled(model: Any, inputs: Arrays) -> Any:
    """What the model returns in a ``tf.function``, compiled by XLA."""
    return tf.function(model, jit_compile=True)(**converted(inputs, tf.constant))


def exported(model: Any, inputs: Arrays, directory: Path) -> Any:
    """What the model returns as a SavedModel."""
    model.export(str(directory / "saved_model"), verbose=False)
    tensors = converted(inputs, tf.constant)
    narrow = {name: tf.cast(value, tf.int32) if value.dtype == tf.int64 else value for name, value in tensors.items()}
    loaded = tf.saved_model.load(str(directory / "saved_model"))  # owns the variables: it must outlive the call
    return loaded.serve(narrow)
