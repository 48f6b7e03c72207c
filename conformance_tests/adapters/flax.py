"""`clip_flax` for the suite."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from numpy.typing import NDArray

import clip_flax
from conformance_tests.adapter import CLASSES, Arrays, converted, loss_of, part

ON_DEVICE = jax.default_backend() != "cpu"
CHANNELS_LAST = True


def model_class(kind: str) -> Any:
    """The class of a kind of model."""
    return getattr(clip_flax, f"Flax{CLASSES[kind]}")


def build(kind: str, config: Any, weights: Arrays | None, *, dtype: str = "float32", seed: int = 0) -> Any:
    """A model in evaluation mode."""
    return model_class(kind)(config, seed=seed, dtype=dtype, weights=weights)


def load(kind: str, directory: Path, *, dtype: str | None = None, **sizes: Any) -> Any:
    """A model in evaluation mode from a checkpoint directory."""
    return model_class(kind).from_pretrained(directory, dtype=dtype, **sizes)


def save(model: Any, directory: Path, *, max_shard_size: int | str = "5GB") -> None:
    """Writes a checkpoint directory."""
    model.save_pretrained(directory, max_shard_size=max_shard_size)


def weights(model: Any) -> Arrays:
    """All weights, in the order of the weight table."""
    return {name: np.array(value) for name, value in model.named_weights().items()}


def to_array(value: Any) -> NDArray[Any]:
    """The values of a tensor."""
    return np.asarray(value)


def call(model: Any, path: str, *inputs: Any, **named_inputs: Any) -> Any:
    """What a part of the model returns."""
    return part(model, path)(*converted(inputs, jnp.asarray), **converted(named_inputs, jnp.asarray))


def gradients(model: Any, inputs: Arrays, *, interpolate_pos_encoding: bool = False) -> Arrays:
    """The gradient of the loss by every weight."""
    differentiated = nnx.clone(model)
    nnx.update(differentiated, _gradients(model, inputs, interpolate_pos_encoding))
    found = weights(differentiated)
    return {spec.name: found[spec.name] for spec in model.weight_specs() if spec.is_parameter}


def step(model: Any, inputs: Arrays, rule: str, learning_rate: float, epsilon: float) -> Arrays:
    """The weights after one step of optax's optimiser."""
    trained = nnx.clone(model)
    rules = {"sgd": optax.sgd(learning_rate), "adam": optax.adam(learning_rate, eps=epsilon)}
    nnx.Optimizer(trained, rules[rule], wrt=nnx.Param).update(trained, _gradients(trained, inputs))
    return weights(trained)


def trained(model: Any, batches: Sequence[Arrays], learning_rate: float) -> Arrays:
    """The weights after a step of optax's SGD in training mode on each batch."""
    learner = nnx.clone(model)
    optimizer = nnx.Optimizer(learner, optax.sgd(learning_rate), wrt=nnx.Param)
    for inputs in batches:
        _train(learner, optimizer, converted(inputs, jnp.asarray))
    return weights(learner)


@nnx.jit
def _train(model: Any, optimizer: Any, inputs: dict[str, Any]) -> None:
    optimizer.update(model, nnx.grad(lambda model: model(**inputs, return_loss=True, train=True).loss)(model))


@partial(nnx.jit, static_argnames="interpolated")
def _loss_gradients(model: Any, inputs: dict[str, Any], interpolated: bool) -> Any:
    def loss(model: Any) -> Any:
        return model(**inputs, **loss_of(inputs), interpolate_pos_encoding=interpolated).loss

    return nnx.grad(loss)(model)


def _gradients(model: Any, inputs: Arrays, interpolated: bool = False) -> Any:
    return _loss_gradients(model, converted(inputs, jnp.asarray), interpolated)


def global_loss(model: Any, inputs: Arrays) -> NDArray[Any]:
    """The loss over a mapped axis of two."""
    halves = {name: jnp.stack(np.array_split(value, 2)) for name, value in inputs.items()}
    share = jax.vmap(lambda half: model(**half, return_loss=True, axis_name="data").loss, axis_name="data")
    loss = jax.jit(share)(halves)
    assert loss[0] == loss[1]
    return to_array(loss[0])


def adapted(model: Any) -> Any:
    """The model with NNX's LoRA on a projection."""
    base = model.text_projection
    layer = nnx.LoRALinear(base.in_features, base.out_features, lora_rank=1, use_bias=False, rngs=nnx.Rngs(0))
    layer.kernel = base.kernel
    layer.lora.lora_b[...] = jnp.ones_like(layer.lora.lora_b)
    model.text_projection = layer
    return model


def restored(model: Any, other: Any, directory: Path) -> Any:
    """The other model with the state that orbax stored."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory / "state", nnx.state(model))
        checkpointer.wait_until_finished()
        nnx.update(other, checkpointer.restore(directory / "state", nnx.state(other)))
    return other


def compiled(model: Any, inputs: Arrays) -> Any:
    """What the model returns under ``nnx.jit``."""
    return nnx.jit(lambda model, inputs: model(**inputs))(model, converted(inputs, jnp.asarray))


def exported(model: Any, inputs: Arrays, directory: Path) -> Any:
    """What the model returns after ``jax.export``, a file, and ``jax.export.deserialize``."""
    tensors = converted(inputs, jnp.asarray)
    program = jax.export.export(jax.jit(lambda inputs: model(**inputs)))(tensors)
    (directory / "model.stablehlo").write_bytes(program.serialize())
    return jax.export.deserialize((directory / "model.stablehlo").read_bytes()).call(tensors)
