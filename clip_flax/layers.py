"""The transformer encoder that both towers share, for Flax.

Shapes: batch, token, hidden; head and head_dim inside attention; query and key are tokens.

Whatever multiplies matrices has an attribute ``precision``, as layers of NNX have; the model sets them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from clip_core.config import CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputTypeError
from clip_flax.compilation import compiled

TowerConfig = CLIPTextConfig | CLIPVisionConfig


def quick_gelu(x: Array) -> Array:
    """The sigmoid approximation of GELU that OpenAI's weights were trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


def gelu(x: Array) -> Array:
    """The exact GELU."""
    return jax.nn.gelu(x, approximate=False)


def gelu_pytorch_tanh(x: Array) -> Array:
    """The tanh approximation of GELU."""
    return jax.nn.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "quick_gelu": quick_gelu,
    "gelu": gelu,
    "gelu_pytorch_tanh": gelu_pytorch_tanh,
}


class NoRngs:
    """In place of `nnx.Rngs` where layers are made: no random number is drawn for weights that are set next."""

    def params(self) -> None:
        """No key."""


def no_weight(key: None, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """An initializer that takes neither memory nor random numbers, for weights that are set next."""
    return jax.ShapeDtypeStruct(shape, dtype)


def linear(in_size: int, out_size: int, dtype: Any, bias: bool = True) -> nnx.Linear:
    """A dense layer."""
    return nnx.Linear(
        in_size,
        out_size,
        use_bias=bias,
        dtype=dtype,
        param_dtype=dtype,
        kernel_init=no_weight,
        bias_init=no_weight,
        rngs=NoRngs(),
    )


def embedding(rows: int, hidden_size: int, dtype: Any) -> nnx.Embed:
    """A table of vectors; in compiled code, where ids cannot be checked, one past the end gives NaN."""
    return nnx.Embed(rows, hidden_size, dtype=dtype, param_dtype=dtype, embedding_init=no_weight, rngs=NoRngs())


def layer_norm(config: TowerConfig, dtype: Any) -> nnx.LayerNorm:
    """LayerNorm over hidden, with the configuration's epsilon."""
    return nnx.LayerNorm(
        config.hidden_size,
        epsilon=config.layer_norm_eps,
        dtype=dtype,
        param_dtype=dtype,
        scale_init=no_weight,
        bias_init=no_weight,
        use_fast_variance=False,  # the fast one loses the digits of inputs whose mean is large
        rngs=NoRngs(),
    )


def host_values(tensor: Array | NDArray[Any] | None) -> NDArray[Any] | None:
    """The values of an array that lies in host memory, outside of any trace; of anything else ``None``."""
    if tensor is None or isinstance(tensor, np.ndarray):
        return tensor
    if not isinstance(tensor, Array) or isinstance(tensor, jax.core.Tracer) or not tensor.is_fully_addressable:
        return None
    if any(device.platform != "cpu" for device in tensor.devices()):
        return None
    return np.asarray(tensor)


def sizes(tensor: Array | NDArray[Any]) -> tuple[int | None, ...]:
    """The shape; ``None`` for a size that `jax.export` leaves open."""
    return tuple(size if isinstance(size, int) else None for size in tensor.shape)


def wide(x: Array) -> Array:
    """In float32, or wider if it is: the dtype of softmax, logits and loss."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def computed_once(x: Array) -> Array:
    """The same array, which compiled code keeps in memory.

    Of a sum of residuals, the two passes of a LayerNorm would have XLA compute all sums before it anew: it compiles
    gradients for ten times as long, and they take a fifth longer to run (decision 36).
    """
    return jax.lax.optimization_barrier(x)


def default(value: bool | None, configured: bool) -> bool:
    """An argument, or what the configuration says if it was not given."""
    return configured if value is None else value


def tensor_input(name: str, value: Any) -> Array | NDArray[Any]:
    """An input that must be an array of JAX or NumPy.

    Raises:
        InputTypeError: it is missing or of another type.
    """
    if not isinstance(value, jax.Array | np.ndarray):
        raise InputTypeError(
            f"{name}: expected a jax.Array or numpy.ndarray, got {type(value).__name__}. "
            "Call the processor with return_tensors='np' and pass what it returns."
        )
    return value


def optional_input(name: str, value: Any) -> Array | NDArray[Any] | None:
    """An input that must be an array or ``None``."""
    return None if value is None else tensor_input(name, value)


class Attention(nnx.Module):
    """Multi-head self-attention; one projection each for query, key, value and output."""

    def __init__(self, config: TowerConfig, dtype: Any) -> None:
        self.num_heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.precision: jax.lax.Precision | None = None
        self.dropout = nnx.Dropout(config.attention_dropout)
        self.q_proj = linear(config.hidden_size, config.hidden_size, dtype)
        self.k_proj = linear(config.hidden_size, config.hidden_size, dtype)
        self.v_proj = linear(config.hidden_size, config.hidden_size, dtype)
        self.out_proj = linear(config.hidden_size, config.hidden_size, dtype)

    def __call__(
        self,
        hidden_states: Array,
        attention_mask: Array | None,
        output_attentions: bool = False,
        dropout_rng: Array | None = None,
        queries: int | None = None,
    ) -> tuple[Array, Array | None]:
        """Attends within ``hidden_states`` ``[batch, token, hidden]`` where ``attention_mask`` is true.

        Without ``dropout_rng`` nothing is dropped. The returned weights are those before dropout. With ``queries``,
        only so many of the first tokens ask, and are returned.
        """
        query = self.split_heads(self.q_proj(hidden_states[:, :queries]))
        key = self.split_heads(self.k_proj(hidden_states))
        value = self.split_heads(self.v_proj(hidden_states))
        weights = self.attention_weights(query, key, attention_mask)
        kept = self.dropout(weights, deterministic=dropout_rng is None, rngs=dropout_rng)
        context = jnp.matmul(kept, value, precision=self.precision)  # [batch, head, query, head_dim]
        context = context.swapaxes(1, 2)  # [batch, query, head, head_dim]
        context = context.reshape(*context.shape[:2], hidden_states.shape[2])  # [batch, query, hidden]
        return self.out_proj(context), weights if output_attentions else None

    def split_heads(self, x: Array) -> Array:
        """From ``[batch, token, hidden]`` to ``[batch, head, token, head_dim]``."""
        x = x.reshape(*x.shape[:2], self.num_heads, self.head_dim)  # [batch, token, head, head_dim]
        return x.swapaxes(1, 2)  # [batch, head, token, head_dim]

    def attention_weights(self, query: Array, key: Array, attention_mask: Array | None) -> Array:
        """Attention after softmax, before dropout; the softmax is in float32 or wider."""
        query = query * self.head_dim**-0.5
        scores = wide(jnp.matmul(query, key.swapaxes(2, 3), precision=self.precision))  # [batch, head, query, key]
        if attention_mask is not None:
            scores = jnp.where(attention_mask, scores, jnp.finfo(scores.dtype).min)
        return jax.nn.softmax(scores, axis=-1).astype(query.dtype)


ATTENTION = Attention.__call__


class MLP(nnx.Module):
    """Two dense layers with the configuration's activation between them."""

    def __init__(self, config: TowerConfig, dtype: Any) -> None:
        self.activation_fn = ACTIVATIONS[config.hidden_act]
        self.fc1 = linear(config.hidden_size, config.intermediate_size, dtype)
        self.fc2 = linear(config.intermediate_size, config.hidden_size, dtype)

    def __call__(self, hidden_states: Array) -> Array:
        """``[batch, token, hidden]`` to ``[batch, token, hidden]``."""
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))


class EncoderLayer(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, config: TowerConfig, dtype: Any) -> None:
        self.layer_norm1 = layer_norm(config, dtype)
        self.self_attn = Attention(config, dtype)
        self.layer_norm2 = layer_norm(config, dtype)
        self.mlp = MLP(config, dtype)

    def __call__(
        self,
        hidden_states: Array,
        attention_mask: Array | None,
        output_attentions: bool = False,
        dropout_rng: Array | None = None,
        queries: int | None = None,
    ) -> tuple[Array, Array | None]:
        """``[batch, token or queries, hidden]`` of ``[batch, token, hidden]``, and the attention if asked for."""
        normal = self.layer_norm1(computed_once(hidden_states))
        fewer = () if queries is None else (queries,)  # attention of others takes four
        attended, weights = self.self_attn(normal, attention_mask, output_attentions, dropout_rng, *fewer)
        hidden_states = hidden_states[:, :queries] + attended
        hidden_states = hidden_states + self.mlp(self.layer_norm2(computed_once(hidden_states)))
        return hidden_states, weights


BLOCK = EncoderLayer.__call__
BLOCK_PARTS = (EncoderLayer, Attention, MLP)


def are_ours(blocks: Iterable[nnx.Module]) -> bool:
    """Whether blocks and their attention compute what ours do: only then is it known what a token depends on."""
    methods = EncoderLayer.__call__ is BLOCK and Attention.__call__ is ATTENTION
    return methods and all(type(block) is EncoderLayer and type(block.self_attn) is Attention for block in blocks)


class Encoder(nnx.Module):
    """The stack of blocks."""

    def __init__(self, config: TowerConfig, dtype: Any) -> None:
        self.layers = nnx.List(EncoderLayer(config, dtype) for _ in range(config.num_hidden_layers))
        self.gradient_checkpointing = False
        self.checkpoint_policy: Callable[..., Any] | None = None

    def __call__(
        self,
        hidden_states: Array,
        attention_mask: Array | None,
        output_attentions: bool,
        output_hidden_states: bool,
        dropout_rng: Array | None = None,
        queries: int | None = None,
    ) -> tuple[Array, tuple[Array, ...] | None, tuple[Array, ...] | None]:
        """The last hidden state, all of them (one more than layers) and all attentions, or ``None`` for each.

        The last block computes as many of the first tokens as ``queries`` says, or all.
        """
        all_hidden_states, all_attentions = [hidden_states], []
        for index, layer in enumerate(self.layers):
            layer_rng = None if dropout_rng is None else jax.random.fold_in(dropout_rng, index)
            fewer = (queries,) if queries is not None and index == len(self.layers) - 1 else ()
            inputs = hidden_states, attention_mask, output_attentions, layer_rng, *fewer
            if self.gradient_checkpointing:
                static = (3, 5) if fewer else (3,)
                call = nnx.remat(type(layer).__call__, static_argnums=static, policy=self.checkpoint_policy)
                hidden_states, weights = call(layer, *inputs)
            else:
                hidden_states, weights = compiled(BLOCK_PARTS, layer, *inputs)
            all_hidden_states.append(hidden_states)
            all_attentions.append(weights)
        return (
            hidden_states,
            tuple(all_hidden_states) if output_hidden_states else None,
            tuple(all_attentions) if output_attentions else None,
        )


ENCODER_PARTS = (Encoder, *BLOCK_PARTS)
