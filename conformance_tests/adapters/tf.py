"""`clip_tf` for the suite, on whichever framework Keras runs."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

import clip_tf
from conformance_tests.adapter import CLASSES, Arrays, converted, part

on: Any = import_module(f"conformance_tests.adapters.keras_on.{keras.backend.backend()}")
ON_DEVICE: bool = on.ON_DEVICE
CHANNELS_LAST = True
REFUSES_PARTS = keras.backend.backend() == "torch"  # whose processes Keras does not put together
restored, compiled, exported = on.restored, on.compiled, on.exported


def model_class(kind: str) -> Any:
    """The class of a kind of model."""
    return getattr(clip_tf, f"TF{CLASSES[kind]}")


def build(kind: str, config: Any, weights: Arrays | None, *, dtype: str = "float32", seed: int = 0) -> Any:
    """A model, which in Keras evaluates unless called with ``training=True``."""
    return model_class(kind)(config, seed=seed, dtype=dtype, weights=weights)


def load(kind: str, directory: Path, *, dtype: str | None = None, **sizes: Any) -> Any:
    """A model from a checkpoint directory."""
    return model_class(kind).from_pretrained(directory, dtype=dtype, **sizes)


def save(model: Any, directory: Path, *, max_shard_size: int | str = "5GB") -> None:
    """Writes a checkpoint directory."""
    model.save_pretrained(directory, max_shard_size=max_shard_size)


def weights(model: Any) -> Arrays:
    """All weights, in the order of the weight table."""
    return {name: np.array(value) for name, value in model.named_weights().items()}


def to_array(value: Any) -> NDArray[Any]:
    """The values of a tensor."""
    return np.asarray(ops.convert_to_numpy(ops.convert_to_tensor(value)))


def call(model: Any, path: str, *inputs: Any, **named_inputs: Any) -> Any:
    """What a part of the model returns; by name, since Keras takes nothing but tensors by position."""
    target = part(model, path)
    signature = inspect.signature(target.call if isinstance(target, keras.Layer) else target)
    named = signature.bind(*converted(inputs, on.to_tensor), **converted(named_inputs, on.to_tensor)).arguments
    return target(**named)


def gradients(model: Any, inputs: Arrays, *, interpolate_pos_encoding: bool = False) -> Arrays:
    """The gradient of the loss by every weight."""
    differentiated = _copy(model)
    found = on.gradients(differentiated, inputs, interpolate_pos_encoding)
    for variable, gradient in zip(differentiated.trainable_variables, found, strict=True):
        variable.assign(gradient)
    for variable in differentiated.non_trainable_variables:
        variable.assign(ops.zeros_like(ops.convert_to_tensor(variable)))
    parameters = weights(differentiated)
    return {spec.name: parameters[spec.name] for spec in model.weight_specs() if spec.is_parameter}


def step(model: Any, inputs: Arrays, rule: str, learning_rate: float, epsilon: float) -> Arrays:
    """The weights after one step of Keras' optimiser."""
    trained = _copy(model)
    if rule == "sgd":
        optimizer: Any = keras.optimizers.SGD(learning_rate)
    else:  # Keras adds epsilon to the root of the second moment before correcting it for its start at 0
        optimizer = keras.optimizers.Adam(learning_rate, beta_2=0.999, epsilon=epsilon * (1 - 0.999) ** 0.5)
    optimizer.apply(on.gradients(trained, inputs, False), trained.trainable_variables)
    return weights(trained)


def trained(model: Any, batches: Sequence[Arrays], learning_rate: float) -> Arrays:
    """The weights after a step of Keras' SGD in training mode on each batch."""
    learner, optimizer = _copy(model), keras.optimizers.SGD(learning_rate)
    learner.vision_model.gradient_checkpointing = model.vision_model.gradient_checkpointing
    for inputs in batches:
        optimizer.apply(on.gradients(learner, inputs, False, training=True), learner.trainable_variables)
    return weights(learner)


def _copy(model: Any) -> Any:
    return type(model)(model.config, dtype=model.dtype_policy, weights=weights(model))


def global_loss(model: Any, inputs: Arrays) -> NDArray[Any]:
    """The loss of a batch that is spread by the means of the framework."""
    return to_array(on.global_loss(lambda: _copy(model), inputs))


def adapted(model: Any) -> Any:
    """The model with Keras' LoRA on a projection."""
    model.text_projection.enable_lora(1)
    model.text_projection.lora_kernel_b.assign(ops.ones(model.text_projection.lora_kernel_b.shape))
    return model
