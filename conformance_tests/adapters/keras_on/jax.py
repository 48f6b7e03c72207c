"""Keras on JAX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras

from conformance_tests.adapter import Arrays, converted, loss_of

jax.config.update("jax_num_cpu_devices", 2)  # for a batch that is spread
jax.config.update("jax_default_matmul_precision", "highest")  # on GPUs it is lower, which Keras leaves to JAX

ON_DEVICE = jax.default_backend() != "cpu"
to_tensor = jnp.asarray


def _call(model: Any, trainable: list[Any], inputs: Any, **options: Any) -> Any:
    """What the model returns with these trainable variables, without state."""
    others = [variable.value for variable in model.non_trainable_variables]
    return model.stateless_call(trainable, others, **inputs, **options)[0]


def _values(model: Any) -> list[Any]:
    return [variable.value for variable in model.trainable_variables]


def gradients(model: Any, inputs: Arrays, interpolated: bool, training: bool = False) -> list[Any]:
    """The gradient of the loss by every trainable variable, with ``jax.grad``."""
    tensors = converted(inputs, to_tensor)

    options = {**loss_of(inputs), "interpolate_pos_encoding": interpolated, "training": training}
    kept = [variable.value for variable in model.non_trainable_variables]

    def loss(values: list[Any]) -> Any:
        output, changed = model.stateless_call(values, kept, **tensors, **options)
        return output.loss, changed

    found, changed = jax.jit(jax.grad(loss, has_aux=True))(_values(model))
    for variable, value in zip(model.non_trainable_variables, changed, strict=True):
        variable.assign(value)
    return list(found)


def global_loss(make_model: Callable[[], Any], inputs: Arrays) -> Any:
    """The loss of a program that Keras spreads over two devices."""
    distribution = keras.distribution.DataParallel(devices=["cpu:0", "cpu:1"])
    with distribution.scope():
        model = make_model()
        layout = distribution.get_data_layout((4, 2)).backend_layout
        spread = {name: jax.device_put(value, layout) for name, value in inputs.items()}
        assert all(len(value.sharding.device_set) == 2 for value in spread.values())
        return jax.jit(lambda values, inputs: _call(model, values, inputs, return_loss=True).loss)(
            _values(model), spread
        )


def restored(model: Any, other: Any, directory: Path) -> Any:
    """The other model after Keras' file of weights."""
    model.save_weights(directory / "model.weights.h5")
    other.load_weights(directory / "model.weights.h5")
    return other


def compiled(model: Any, inputs: Arrays) -> Any:
    """What the model returns under ``jax.jit``."""
    return jax.jit(lambda values, inputs: _call(model, values, inputs))(_values(model), converted(inputs, to_tensor))


def exported(model: Any, inputs: Arrays, directory: Path) -> Any:
    """What the model returns after ``jax.export``, a file, and ``jax.export.deserialize``."""
    tensors = converted(inputs, to_tensor)
    program = jax.export.export(jax.jit(lambda inputs: tuple(_call(model, _values(model), inputs)[:4])))(tensors)
    (directory / "model.stablehlo").write_bytes(program.serialize())
    found = jax.export.deserialize((directory / "model.stablehlo").read_bytes()).call(tensors)
    return dict(zip(("logits_per_image", "logits_per_text", "text_embeds", "image_embeds"), found, strict=True))
