"""The transformer encoder that both towers share, for Keras.

Shapes: batch, token, hidden; head and head_dim inside attention; query and key are tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from clip_core.config import CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CLIPError, InputTypeError
from clip_tf.frameworks import framework

Tensor = framework.Tensor
TowerConfig = CLIPTextConfig | CLIPVisionConfig


def quick_gelu(x: Tensor) -> Tensor:
    """The sigmoid approximation of GELU that OpenAI's weights were trained with."""
    return x * ops.sigmoid(1.702 * x)


def gelu(x: Tensor) -> Tensor:
    """The exact GELU."""
    return ops.gelu(x, approximate=False)


def gelu_pytorch_tanh(x: Tensor) -> Tensor:
    """The tanh approximation of GELU."""
    return ops.gelu(x, approximate=True)


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "quick_gelu": quick_gelu,
    "gelu": gelu,
    "gelu_pytorch_tanh": gelu_pytorch_tanh,
}


def linear(in_size: int, out_size: int, bias: bool = True, *, name: str) -> keras.layers.Dense:
    """A dense layer."""
    layer = keras.layers.Dense(out_size, use_bias=bias, kernel_initializer="zeros", name=name)
    layer.build((None, in_size))
    return layer


def embedding(rows: int, hidden_size: int, *, name: str) -> keras.layers.Embedding:
    """A table of embeddings."""
    layer = framework.Embedding(rows, hidden_size, embeddings_initializer="zeros", name=name)
    layer.build()
    return layer


def layer_norm(config: TowerConfig, *, name: str) -> keras.layers.LayerNormalization:
    """LayerNorm over hidden, with the configuration's epsilon."""
    layer = keras.layers.LayerNormalization(axis=-1, epsilon=config.layer_norm_eps, name=name)
    layer.build((None, config.hidden_size))
    return layer


def host_values(tensor: Tensor | NDArray[np.generic] | None) -> NDArray[np.generic] | None:
    """The values of an array, or of a tensor in host memory outside of any graph; of anything else ``None``."""
    if tensor is None or isinstance(tensor, np.ndarray):
        return tensor
    return framework.host_values(tensor) if isinstance(tensor, Tensor) else None


def dtype_name(tensor: Tensor | NDArray[np.generic]) -> str:
    """Of its dtype, one spelling for all frameworks."""
    return keras.backend.standardize_dtype(tensor.dtype)


def sizes(tensor: Tensor | NDArray[np.generic]) -> tuple[int | None, ...]:
    """The shape; ``None`` for a size that is not known before a graph runs."""
    return tensor.shape if isinstance(tensor, np.ndarray) else framework.sizes(tensor)


def wide(x: Tensor) -> Tensor:
    """In float32, or wider if it is: the dtype of softmax, logits and loss."""
    return x if dtype_name(x) == "float64" else ops.cast(x, "float32")


def default(value: bool | None, configured: bool) -> bool:
    """An argument, or what the configuration says if it was not given."""
    return configured if value is None else value


@contextmanager
def plain_errors() -> Iterator[None]:
    """Has Keras raise errors of Triclip as they are.

    Any other error in a layer it raises anew, its message between escape codes and a list of all arguments, unless it
    bears the mark of one that was treated so before.
    """
    try:
        yield
    except CLIPError as error:
        error._keras_call_info_injected = True
        raise


def tensor_input(name: str, value: Any) -> Tensor:
    """An input that must be a tensor; Keras has made one of a NumPy array.

    Raises:
        InputTypeError: it is missing or of another type.
    """
    with plain_errors():
        if not isinstance(value, Tensor):
            raise InputTypeError(
                f"{name}: expected a {framework.TENSOR} or a NumPy array, got {type(value).__name__}. Call the "
                f"processor with return_tensors={framework.RETURN_TENSORS!r} and pass what it returns."
            )
    return value


def optional_input(name: str, value: Any) -> Tensor | None:
    """An input that must be a tensor or ``None``."""
    return None if value is None else tensor_input(name, value)


def is_watched(layers: Iterable[keras.layers.Layer]) -> bool:
    """Whether hooks, methods or regularizers of others see what goes through a layer."""
    parts = list(layers)
    calls = any(getattr(part.call, "__func__", None) is not type(part).call for part in parts)
    return calls or any(part.activity_regularizer for part in parts) or framework.has_hooks(parts)


class Attention(keras.layers.Layer):
    """Multi-head self-attention; one projection each for query, key, value and output."""

    def __init__(self, config: TowerConfig, *, name: str) -> None:
        super().__init__(name=name)
        self.num_heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.dropout_rate = config.attention_dropout
        with keras.name_scope(name, caller=self):
            self.q_proj = linear(config.hidden_size, config.hidden_size, name="q_proj")
            self.k_proj = linear(config.hidden_size, config.hidden_size, name="k_proj")
            self.v_proj = linear(config.hidden_size, config.hidden_size, name="v_proj")
            self.out_proj = linear(config.hidden_size, config.hidden_size, name="out_proj")

    def call(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        output_attentions: bool = False,
        dropout_seed: Tensor | None = None,
        queries: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attends within ``hidden_states`` ``[batch, token, hidden]`` where ``attention_mask`` is true.

        Attention is dropped out where a ``dropout_seed``, two integers, is given. With ``queries``, only so many of the
        first tokens ask, and are returned.
        """
        asking = hidden_states if queries is None else hidden_states[:, :queries]
        query = self.split_heads(self.q_proj(asking))
        key = self.split_heads(self.k_proj(hidden_states))
        value = self.split_heads(self.v_proj(hidden_states))
        weights = self.attention_weights(query, key, attention_mask)
        dropped = weights
        if dropout_seed is not None:
            dropped = framework.dropout(weights, self.dropout_rate, dropout_seed)
        context = ops.matmul(dropped, value)  # [batch, head, query, head_dim]
        context = ops.transpose(context, (0, 2, 1, 3))  # [batch, query, head, head_dim]
        context = ops.reshape(context, ops.shape(asking))  # [batch, query, hidden]
        return self.out_proj(context), weights if output_attentions else None

    def split_heads(self, x: Tensor) -> Tensor:
        """From ``[batch, token, hidden]`` to ``[batch, head, token, head_dim]``."""
        x = ops.reshape(x, (ops.shape(x)[0], -1, self.num_heads, self.head_dim))  # [batch, token, head, head_dim]
        return ops.transpose(x, (0, 2, 1, 3))  # [batch, head, token, head_dim]

    def attention_weights(self, query: Tensor, key: Tensor, attention_mask: Tensor | None) -> Tensor:
        """Attention after softmax, before dropout; the softmax is in float32 or wider."""
        scores = wide(framework.products(query * self.head_dim**-0.5, key))  # [batch, head, query, key]
        if attention_mask is not None:
            scores = ops.where(attention_mask, scores, float(np.finfo(dtype_name(scores)).min))
        return ops.cast(ops.softmax(scores, axis=-1), query.dtype)


ATTENTION = Attention.call


class MLP(keras.layers.Layer):
    """Two dense layers with the configuration's activation between them."""

    def __init__(self, config: TowerConfig, *, name: str) -> None:
        super().__init__(name=name)
        self.activation_fn = ACTIVATIONS[config.hidden_act]
        with keras.name_scope(name, caller=self):
            self.fc1 = linear(config.hidden_size, config.intermediate_size, name="fc1")
            self.fc2 = linear(config.intermediate_size, config.hidden_size, name="fc2")

    def call(self, hidden_states: Tensor) -> Tensor:
        """``[batch, token, hidden]`` to ``[batch, token, hidden]``."""
        return self.fc2(self.activation_fn(self.fc1(hidden_states)))


class EncoderLayer(keras.layers.Layer):
    """A pre-norm transformer block."""

    def __init__(self, config: TowerConfig, *, name: str) -> None:
        super().__init__(name=name)
        with keras.name_scope(name, caller=self):
            self.layer_norm1 = layer_norm(config, name="layer_norm1")
            self.self_attn = Attention(config, name="self_attn")
            self.layer_norm2 = layer_norm(config, name="layer_norm2")
            self.mlp = MLP(config, name="mlp")

    def call(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        output_attentions: bool = False,
        dropout_seed: Tensor | None = None,
        queries: int | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """``[batch, token or queries, hidden]`` of ``[batch, token, hidden]``, and the attention if asked for."""
        fewer = {} if queries is None else {"queries": queries}  # attention of others knows no such word
        attended, weights = self.self_attn(
            self.layer_norm1(hidden_states),
            attention_mask,
            output_attentions=output_attentions,
            dropout_seed=dropout_seed,
            **fewer,
        )
        hidden_states = (hidden_states if queries is None else hidden_states[:, :queries]) + attended
        hidden_states = hidden_states + self.mlp(self.layer_norm2(hidden_states))
        return hidden_states, weights


BLOCK = EncoderLayer.call


def are_ours(blocks: Iterable[keras.layers.Layer]) -> bool:
    """Whether blocks and their attention compute what ours do: only then is it known what a token depends on."""
    methods = EncoderLayer.call is BLOCK and Attention.call is ATTENTION
    return methods and all(
        type(block) is EncoderLayer
        and type(block.self_attn) is Attention
        and not any("call" in vars(layer) for layer in (block, block.self_attn))
        for block in blocks
    )


class Encoder(keras.layers.Layer):
    """The stack of blocks."""

    def __init__(self, config: TowerConfig, *, name: str) -> None:
        super().__init__(name=name)
        with keras.name_scope(name, caller=self):
            with keras.name_scope("layers"):  # a name may hold no dot
                self.layers = [EncoderLayer(config, name=str(index)) for index in range(config.num_hidden_layers)]
            for index, layer in enumerate(self.layers):  # TensorFlow's checkpoints see attributes, not Keras' lists;
                setattr(self, f"layers_{index}", layer)  # sorted after the list, which names the blocks in Keras' files
            self.dropout_seeds = keras.random.SeedGenerator() if config.attention_dropout else None
            if self.dropout_seeds:
                framework.track(self, self.dropout_seeds.state, "dropout_state")
        self.gradient_checkpointing = False

    def call(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None,
        output_attentions: bool,
        output_hidden_states: bool,
        training: bool = False,
        queries: int | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...] | None, tuple[Tensor, ...] | None]:
        """The last hidden state, all of them (one more than layers) and all attentions, or ``None`` for each.

        The last block computes as many of the first tokens as ``queries`` says, or all.
        """
        all_hidden_states, all_attentions = [hidden_states], []
        for layer in self.layers:
            # drawn here, so that a recomputed layer drops out the same attention again
            dropout_seed = self.dropout_seeds.next() if self.dropout_seeds and training else None
            fewer = {"queries": queries} if queries is not None and layer is self.layers[-1] else {}
            if self.gradient_checkpointing and training:
                hidden_states, weights = checkpoint(layer, hidden_states, attention_mask, dropout_seed, **fewer)
            else:
                hidden_states, weights = layer(
                    hidden_states,
                    attention_mask,
                    output_attentions=output_attentions,
                    dropout_seed=dropout_seed,
                    **fewer,
                )
            all_hidden_states.append(hidden_states)
            all_attentions.append(weights)
        return (
            hidden_states,
            tuple(all_hidden_states) if output_hidden_states else None,
            tuple(all_attentions) if output_attentions else None,
        )


def checkpoint(
    layer: EncoderLayer,
    hidden_states: Tensor,
    attention_mask: Tensor | None,
    dropout_seed: Tensor | None,
    **fewer: int,
) -> tuple[Tensor, Tensor]:
    """The layer's output; its activations are computed again in the backward pass instead of being kept."""

    @keras.remat  # takes functions from tensors to tensors, never None
    def run(hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        options = {"output_attentions": True, "dropout_seed": dropout_seed, "training": True, **fewer}
        return layer(hidden_states, attention_mask, **options)

    return run(hidden_states)
