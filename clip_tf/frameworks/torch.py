"""Keras on PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import torch
from keras import ops
from numpy.typing import NDArray
from torch import Tensor as Tensor  # what the layers take
from torch.nn.modules.module import _has_any_global_hook
from torch.utils import _pytree

from clip_core.errors import InputError
from clip_core.outputs import all_output_types

TENSOR = "torch.Tensor"
RETURN_TENSORS = "pt"
DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Of weights."""
COUNTER_DTYPE = "int64"
HAS_GRAPHS = False
COMPILES_EACH_SHAPE = False
"""Of tensors outside of a graph."""

Embedding = keras.layers.Embedding

MADE_UP = (83, 89)
"""What Keras calls a model with, on the meta device, where a symbolic input leaves a size open."""

for _output in all_output_types():  # so that torch.export.save can write programs that return them
    if _output not in _pytree.SUPPORTED_NODES:
        _pytree._register_namedtuple(_output, serialized_type_name=f"clip_core.outputs.{_output.__name__}")


def host_values(tensor: Tensor) -> NDArray[np.generic] | None:
    """The values of a tensor that lies in host memory, outside of any graph; otherwise ``None``."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return None
    if type(tensor) is not Tensor or tensor.device.type != "cpu":
        return None
    try:
        return tensor.detach().numpy()
    except (RuntimeError, TypeError):  # inside vmap or grad; bfloat16, which NumPy has not
        return None


def to_tensor(value: NDArray[Any], dtype: str) -> Tensor:
    """A tensor in the memory of an array that nothing else refers to, or in memory of its own."""
    if value.dtype.name == dtype and value.dtype.kind in "fi" and value.flags.writeable:
        return torch.from_numpy(value)
    return keras.ops.convert_to_tensor(value, dtype=dtype)


def sizes(tensor: Tensor) -> tuple[int | None, ...]:
    """The shape; ``None`` for a size that a symbolic input or an export leaves open."""
    made_up = MADE_UP if tensor.device.type == "meta" else ()
    return tuple(size if isinstance(size, int) and size not in made_up else None for size in tensor.shape)


def with_sizes(tensor: Tensor, shape: tuple[int | None, ...]) -> Tensor:
    """The tensor; what runs has no open sizes."""
    return tensor


def positions(length: int, limit: int) -> Tensor:
    """``[token]``, from 0."""
    return ops.arange(length, dtype="int32")


def products(x: Tensor, y: Tensor) -> Tensor:
    """Of every row of ``x`` with every row of ``y``: ``[..., x, size]`` and ``[..., y, size]`` to ``[..., x, y]``."""
    return x @ y.mT


def rows_at(x: Tensor, index: Tensor) -> Tensor:
    """From ``[batch, token, hidden]`` and ``[batch]`` to ``[batch, hidden]``."""
    return x[torch.arange(x.shape[0], device=x.device), index]


def graph(function: Callable[..., Tensor], kinds: list[tuple[str, Any]]) -> Callable[..., Tensor]:
    """The function itself: without `HAS_GRAPHS`."""
    return function


def dropout(x: Tensor, rate: float, seed: Tensor) -> Tensor:
    """Without state: the same seed, two integers, drops the same."""
    if x.device.type == "meta":
        return x
    generator = torch.Generator(x.device).manual_seed(int(seed[0]) << 32 | int(seed[1]))
    kept = torch.rand(x.shape, generator=generator, device=x.device) >= rate
    return torch.where(kept, x / (1 - rate), 0)


def track(layer: Any, variable: Any, name: str) -> None:
    """Nothing: Keras' own files see every variable."""


def has_hooks(layers: list[Any]) -> bool:
    """Whether hooks or methods of torch see what goes through a layer, which is a module."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    hooks = _has_any_global_hook() or any(getattr(layer, kind) for layer in layers for kind in kinds)
    return hooks or any("forward" in vars(layer) for layer in layers)


def replicas() -> int:
    """One.

    Raises:
        InputError: there are several processes, each of which sees a part of the batch.
    """
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    if there and torch.distributed.get_world_size() > 1:
        raise InputError(
            f"loss: expected the whole batch, got a part of it, for there are {torch.distributed.get_world_size()} "
            "processes. Use clip_torch, whose loss takes group, or Keras on JAX with keras.distribution.DataParallel."
        )
    return 1


def gathered(tensors: list[Tensor]) -> list[Tensor]:
    """Of the one replica."""
    return tensors


def first_part(batch: Any, strategy: Any) -> Any:
    """The batch, which is whole."""
    return batch


def keeper(model: Any) -> Callable[[], None]:
    """Nothing: the model has its variables at all times."""
    return lambda: None


def export_options(format: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """What `keras.Model.export` needs to be told besides.

    Raises:
        InputError: always, for Keras on PyTorch would fix the sizes that it made up.
    """
    raise InputError(
        f"export: expected Keras to run on TensorFlow for format={format!r}, got torch. Save the model and export it "
        "with KERAS_BACKEND=tensorflow, or write it with torch.export.export(model, (), inputs)."
    )
