"""Keras on JAX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax import Array as Tensor  # what the layers take; traced arrays are some
from jax.extend.core import unsafe_get_axis_names_DO_NOT_USE as mapped_axis_names  # nothing safer sees vmap's axes
from numpy.typing import NDArray

from clip_core.errors import InputError

TENSOR = "jax.Array"
RETURN_TENSORS = "jax"
DTYPES = ("float32", "bfloat16", "float16", *(("float64",) if jax.config.jax_enable_x64 else ()))
"""Of weights."""
COUNTER_DTYPE = "int64" if jax.config.jax_enable_x64 else "int32"
HAS_GRAPHS = False
COMPILES_EACH_SHAPE = True
"""Of tensors outside of a graph."""

Embedding = keras.layers.Embedding


def host_values(tensor: Tensor) -> NDArray[np.generic] | None:
    """The values of an array that lies in host memory, outside of any trace; otherwise ``None``."""
    if isinstance(tensor, jax.core.Tracer) or not tensor.is_fully_addressable:
        return None
    return np.asarray(tensor) if all(device.platform == "cpu" for device in tensor.devices()) else None


def to_tensor(value: NDArray[Any], dtype: str) -> Tensor:
    """An array of JAX in the memory of one that nothing else refers to, or in memory of its own."""
    return jax.device_put(value) if value.dtype.name == dtype else keras.ops.convert_to_tensor(value, dtype=dtype)


def sizes(tensor: Tensor) -> tuple[int | None, ...]:
    """The shape; ``None`` for a size that a symbolic input leaves open."""
    return tuple(size if isinstance(size, int) else None for size in tensor.shape)


def with_sizes(tensor: Tensor, shape: tuple[int | None, ...]) -> Tensor:
    """The tensor; what runs has no open sizes."""
    return tensor


def positions(length: int, limit: int) -> Tensor:
    """``[token]``, from 0."""
    return jnp.arange(length, dtype="int32")


def products(x: Tensor, y: Tensor) -> Tensor:
    """Of every row of ``x`` with every row of ``y``: ``[..., x, size]`` and ``[..., y, size]`` to ``[..., x, y]``."""
    return x @ jnp.swapaxes(y, -1, -2)


def rows_at(x: Tensor, index: Tensor) -> Tensor:
    """From ``[batch, token, hidden]`` and ``[batch]`` to ``[batch, hidden]``."""
    return x[jnp.arange(x.shape[0]), index]


def graph(function: Callable[..., Tensor], kinds: list[tuple[str, Any]]) -> Callable[..., Tensor]:
    """The function itself: without `HAS_GRAPHS`."""
    return function


def dropout(x: Tensor, rate: float, seed: Tensor) -> Tensor:
    """Without state: the same seed, two integers, drops the same."""
    kept = jax.random.bernoulli(jax.random.wrap_key_data(seed), 1 - rate, x.shape)
    return jnp.where(kept, x / (1 - rate), jnp.zeros((), x.dtype))


def track(layer: Any, variable: Any, name: str) -> None:
    """Nothing: Keras' own files see every variable."""


def has_hooks(layers: list[Any]) -> bool:
    """False: Keras on JAX has none."""
    return False


def replicas() -> int:
    """One: a program that Keras spreads over devices sees the whole batch.

    Raises:
        InputError: inside of a mapped function, which sees a part of the batch.
    """
    mapped = mapped_axis_names()
    if mapped:
        raise InputError(
            f"loss: expected the whole batch, got a part of it, for the function is mapped over {mapped}. Spread Keras "
            "models with keras.distribution.DataParallel, whose programs see all pairs, or use clip_flax, whose loss "
            "takes axis_name."
        )
    return 1


def gathered(tensors: list[Tensor]) -> list[Tensor]:
    """Of the one replica."""
    return tensors


def first_part(batch: Any, strategy: Any) -> Any:
    """The batch, which is whole."""
    return batch


def keeper(model: Any) -> Callable[[], None]:
    """What gives the model its variables back after an error: Keras holds them elsewhere while it works."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer and not optimizer.built:
        optimizer.build(model.trainable_variables)
    before = [(each, each._value) for each in [*model.variables, *(optimizer.variables if optimizer else ())]]

    def restore() -> None:
        model.jax_state_sync()  # what the last step left
        for variable, value in before:
            if variable._value is None:  # there was no step
                variable._value = value
        for variable in model.metrics_variables:
            if variable._value is None:  # made meanwhile
                variable._value = jnp.zeros(variable.shape, variable.dtype)

    return restore


def export_options(format: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """What `keras.Model.export` needs to be told besides: which open sizes are the same."""
    if format != "tf_saved_model":
        return {}
    names = {"input_ids": ("batch", "token"), "attention_mask": ("batch", "token"), "position_ids": ("batch", "token")}
    shapes = {}
    for name, tensor in inputs.items():
        known = names.get(name, ("batch", "channel", "height", "width"))
        sizes = (str(size or open_size) for size, open_size in zip(tensor.shape, known, strict=True))
        shapes[name] = f"({', '.join(sizes)})"
    return {"jax2tf_kwargs": {"native_serialization": True, "polymorphic_shapes": [shapes]}}
