"""Keras on TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow import Tensor as Tensor  # what the layers take

TENSOR = "tf.Tensor"
RETURN_TENSORS = "tf"
DTYPES = ("float32", "bfloat16", "float16", "float64")
"""Of weights."""
COUNTER_DTYPE = "int64"
HAS_GRAPHS = True
COMPILES_EACH_SHAPE = False
"""Of tensors outside of a graph."""
_ALIGNMENT = 64  # bytes, of which TensorFlow's kernels expect memory to begin at a multiple


@tf.custom_gradient
def _with_dense_gradient(table: Tensor) -> Any:
    return tf.identity(table), tf.convert_to_tensor


class Embedding(keras.layers.Embedding):
    """Keras' layer, whose gradient in training is that of each row.

    TensorFlow's own is one slice per id, and Keras' optimizers square the slices of an id that comes twice one by one.
    """

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Ids of any shape to rows of the table."""
        if not training:
            return super().call(inputs)
        rows = tf.gather(_with_dense_gradient(tf.convert_to_tensor(self.embeddings)), inputs)
        return tf.cast(rows, self.compute_dtype)

    def quantize(self, *args: Any, **options: Any) -> None:
        """As Keras' layer, which else quantises no subclass."""
        super().quantize(*args, **{**options, "type_check": False})


def host_values(tensor: Tensor) -> NDArray[np.generic] | None:
    """The values of a tensor that lies in host memory, outside of any graph; otherwise ``None``."""
    if not tf.executing_eagerly() or not hasattr(tensor, "numpy"):
        return None
    return tensor.numpy() if "device:CPU" in tensor.device else None


def to_tensor(value: NDArray[Any], dtype: str) -> Tensor:
    """A tensor in the memory of an array that nothing else refers to, or in memory of its own."""
    with tf.init_scope():
        taken = value.dtype.name == dtype and value.dtype.kind in "fi" and value.flags.writeable and value.size > 0
        if taken and value.ctypes.data % _ALIGNMENT == 0:
            return tf.experimental.dlpack.from_dlpack(value.__dlpack__())
        return keras.ops.convert_to_tensor(value, dtype=dtype)


def sizes(tensor: Tensor) -> tuple[int | None, ...]:
    """The shape; ``None`` for a size that a graph leaves open."""
    return tuple(tensor.shape)


def with_sizes(tensor: Tensor, shape: tuple[int | None, ...]) -> Tensor:
    """The tensor, whose open sizes are checked when the graph runs."""
    return tf.ensure_shape(tensor, shape)


def positions(length: int | Tensor, limit: int) -> Tensor:
    """``[token]``, from 0; sliced, so that too many tokens are an error also where a graph knows no length."""
    return tf.range(limit)[:length]


def products(x: Tensor, y: Tensor) -> Tensor:
    """Of every row of ``x`` with every row of ``y``: ``[..., x, size]`` and ``[..., y, size]`` to ``[..., x, y]``."""
    return tf.matmul(x, y, transpose_b=True)


def rows_at(x: Tensor, index: Tensor) -> Tensor:
    """From ``[batch, token, hidden]`` and ``[batch]`` to ``[batch, hidden]``."""
    return tf.gather(x, index, axis=1, batch_dims=1)


def graph(function: Callable[..., Tensor], kinds: list[tuple[str, Any]]) -> Callable[..., Tensor]:
    """A graph of a function of tensors of these dtypes and sizes, of which ``None`` are open."""
    signature = [tf.TensorSpec(sizes, dtype) for dtype, sizes in kinds]
    return tf.function(function, input_signature=signature, autograph=False)


def dropout(x: Tensor, rate: float, seed: Tensor) -> Tensor:
    """Without state: the same seed, two integers, drops the same."""
    return tf.nn.experimental.stateless_dropout(x, rate, seed)


def track(layer: Any, variable: Any, name: str) -> None:
    """Has `tf.train.Checkpoint` see a variable that belongs to no layer."""
    layer._track_trackable(variable, name)


def has_hooks(layers: list[Any]) -> bool:
    """False: Keras on TensorFlow has none."""
    return False


def replicas() -> int:
    """How many replicas of a `tf.distribute` strategy run this side by side."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gathered(tensors: list[Tensor]) -> list[Tensor]:
    """The tensors of all replicas, put together along the first axis."""
    return tf.distribute.get_replica_context().all_gather(tensors, axis=0)


def first_part(batch: Any, strategy: Any) -> Any:
    """Of a batch that is spread over replicas, what one of them has."""
    return tf.nest.map_structure(lambda value: strategy.experimental_local_results(value)[0], batch)


def keeper(model: Any) -> Callable[[], None]:
    """Nothing: the model has its variables at all times."""
    return lambda: None


def export_options(format: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """What `keras.Model.export` needs to be told besides."""
    return {}
