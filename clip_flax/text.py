"""The text tower, for Flax."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from clip_core.checks import LEGACY_EOS_TOKEN_ID, check_text_input, check_text_values
from clip_core.config import CLIPTextConfig
from clip_core.outputs import BaseModelOutputWithPooling, CLIPTextModelOutput
from clip_core.padding import needed, rounded_up
from clip_flax.compilation import compiled
from clip_flax.explicit_mesh import across_devices
from clip_flax.layers import (
    ENCODER_PARTS,
    Encoder,
    are_ours,
    default,
    embedding,
    host_values,
    layer_norm,
    linear,
    optional_input,
    sizes,
    tensor_input,
)
from clip_flax.weights import FlaxCLIPPreTrainedModel


class TextEmbeddings(nnx.Module):
    """Token embedding plus position embedding."""

    def __init__(self, config: CLIPTextConfig, dtype: Any) -> None:
        self.token_embedding = embedding(config.vocab_size, config.hidden_size, dtype)
        self.position_embedding = embedding(config.max_position_embeddings, config.hidden_size, dtype)

    def __call__(self, input_ids: Array, position_ids: Array | None) -> Array:
        """Ids ``[batch, token]`` to ``[batch, token, hidden]``; positions count from 0 unless given."""
        if position_ids is None:
            position_ids = jnp.arange(input_ids.shape[1])[None]  # [1, token]
        return self.token_embedding(input_ids) + self.position_embedding(position_ids)  # [batch, token, hidden]


class TextTransformer(nnx.Module):
    """Embeddings, causal encoder, final LayerNorm, and the end-of-text token as the pooled output."""

    def __init__(self, config: CLIPTextConfig, dtype: Any) -> None:
        self.config = config
        self.embeddings = TextEmbeddings(config, dtype)
        self.encoder = Encoder(config, dtype)
        self.final_layer_norm = layer_norm(config, dtype)

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        dropout_rng: Array | None = None,
    ) -> BaseModelOutputWithPooling:
        """Ids, mask (1 is a token, 0 padding) and positions ``[batch, token]`` to the tower's output."""
        input_ids = tensor_input("input_ids", input_ids)
        attention_mask = optional_input("attention_mask", attention_mask)
        position_ids = optional_input("position_ids", position_ids)
        unseen = self.check(input_ids, attention_mask, position_ids)
        last_hidden_state, hidden_states, attentions = compiled(
            ENCODER_PARTS,
            self.encoder,
            compiled((TextEmbeddings,), self.embeddings, input_ids, position_ids),
            self.causal_mask(input_ids.shape[1], attention_mask),
            default(output_attentions, self.config.output_attentions),
            default(output_hidden_states, self.config.output_hidden_states),
            dropout_rng,
        )
        last_hidden_state = compiled((), self.final_layer_norm, last_hidden_state)
        pooled = self.pool(last_hidden_state, input_ids)  # [batch, hidden]
        if unseen:
            pooled = self.without_bad_texts(pooled, input_ids, attention_mask, position_ids)
        return BaseModelOutputWithPooling.of(
            {
                "last_hidden_state": last_hidden_state,
                "pooler_output": pooled,
                "hidden_states": hidden_states,
                "attentions": attentions,
            }
        )

    def check(
        self, input_ids: Array, attention_mask: Array | None, position_ids: Array | None
    ) -> tuple[Array | NDArray[Any], ...]:
        """Raises for shapes and dtypes always, for values if they lie in host memory; returns the inputs that do not.

        (Not whether there are some: `nnx.tabulate` compiles each method, and a truth value would become an array.)
        """
        check_text_input(
            sizes(input_ids),
            str(input_ids.dtype),
            None if attention_mask is None else sizes(attention_mask),
            None if position_ids is None else sizes(position_ids),
            self.config,
        )
        given = (input_ids, attention_mask, position_ids)
        ids, mask, positions = seen = tuple(map(host_values, given))
        check_text_values(ids, mask, positions, self.config)
        return tuple(
            tensor for tensor, values in zip(given, seen, strict=True) if tensor is not None and values is None
        )

    def causal_mask(self, length: int, attention_mask: Array | None) -> Array:
        """True where a query may see a key: not later than itself, and no padding."""
        causal = jnp.tril(jnp.ones((length, length), bool))[None, None]  # [1, 1, query, key]
        if attention_mask is None:
            return causal
        return causal & attention_mask[:, None, None, :].astype(bool)  # [batch, 1, query, key]

    def pool(self, last_hidden_state: Array, input_ids: Array) -> Array:
        """The hidden state at the end of the text, ``[batch, hidden]``.

        The end is the first ``eos_token_id``; in configurations where that is 2, from before transformers 4.30, the
        first largest id.
        """
        if self.config.eos_token_id == LEGACY_EOS_TOKEN_ID:
            end = input_ids.argmax(axis=-1)  # [batch]
        else:
            end = (input_ids == self.config.eos_token_id).argmax(axis=-1)  # [batch]
        batch = jnp.arange(input_ids.shape[0])
        return last_hidden_state[batch, end]  # [batch, hidden]

    def without_bad_texts(
        self, pooled: Array, input_ids: Array, attention_mask: Array | None, position_ids: Array | None
    ) -> Array:
        """NaN in the rows of ``pooled`` ``[batch, hidden]`` of texts that `check_text_values` would refuse.

        In compiled graphs and on other devices nothing can be raised, and a finite number would be taken for an answer.
        """
        config = self.config
        bad = ((input_ids < 0) | (input_ids >= config.vocab_size)).any(axis=-1)  # [batch]
        if config.eos_token_id != LEGACY_EOS_TOKEN_ID:
            bad = bad | (input_ids != config.eos_token_id).all(axis=-1)
        if attention_mask is not None:  # begins with padding, has no token, or is one that is added to scores
            bad = bad | (attention_mask[:, 0] == 0) | ((attention_mask != 0) & (attention_mask != 1)).any(axis=-1)
        if position_ids is not None:
            bad = bad | ((position_ids < 0) | (position_ids >= config.max_position_embeddings)).any(axis=-1)
        return jnp.where(bad[:, None], jnp.nan, pooled)  # [batch, hidden]


def without_padding(
    tower: nnx.Module,
    input_ids: Array,
    attention_mask: Array | None,
    position_ids: Array | None,
    dropout_rng: Array | None = None,
) -> tuple[Array, Array | None, Array | None]:
    """The inputs of a text tower, cut to what its pooled output depends on; see `clip_core.padding`.

    They stay as they are where not all values lie in host memory, in a tower that somebody changed, and where attention
    is dropped out, at random for each key. Since each length is compiled anew, there are few.

    Raises:
        InputError, InputTypeError: as the tower does, for all columns.
    """
    given = input_ids, attention_mask, position_ids
    ids, mask, _ = seen = tuple(map(host_values, given))
    if ids is None or any(a is not None and b is None for a, b in zip(given, seen, strict=True)):
        return given
    if type(tower) is not TextTransformer or dropout_rng is not None:
        return given
    methods = {"causal_mask", "pool"}.isdisjoint(vars(tower))
    if not (methods and type(tower.encoder) is Encoder and are_ours(tower.encoder.layers)):
        return given
    tower.check(*given)
    length, is_masked = needed(ids, mask, tower.config)
    length = rounded_up(length, ids.shape[1])
    return (
        input_ids[:, :length],
        attention_mask[:, :length] if attention_mask is not None and is_masked else None,
        None if position_ids is None else position_ids[:, :length],
    )


class FlaxCLIPTextPreTrainedModel(FlaxCLIPPreTrainedModel):
    """Base of the models of the text tower."""

    config_class = CLIPTextConfig


class FlaxCLIPTextModel(FlaxCLIPTextPreTrainedModel):
    """The text tower."""

    architecture = "CLIPTextModel"

    def make_layers(self, config: CLIPTextConfig, dtype: Any) -> None:
        self.text_model = TextTransformer(config, dtype)

    @across_devices
    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        params: dict[str, Any] | None = None,
        dropout_rng: Array | None = None,
        train: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encodes texts.

        Args:
            input_ids: ``[batch, token]`` integers.
            attention_mask: ``[batch, token]``, 1 for tokens and 0 for padding, which is at the right.
            position_ids: ``[batch, token]`` or ``[1, token]``; from 0 unless given.
            params: weights to use instead of the model's own, in the layout of `params`.
            dropout_rng: key of the dropout, where ``attention_dropout`` is above 0.
            train: drop attention; also if ``model.train()`` was called.
            output_attentions, output_hidden_states, return_dict: as the configuration says unless given.

        Returns:
            `BaseModelOutputWithPooling`, or a tuple of its fields with ``return_dict=False``.

        Raises:
            InputError, InputTypeError: shapes, dtypes, or values in host memory that the tower cannot take; training
                with dropout but without its key.
            WeightMismatchError: ``params`` are not those of the configuration.
        """
        model, dropout_rng = self.with_params(params), self.dropout_key(train, dropout_rng)
        output = model.text_model(
            input_ids, attention_mask, position_ids, output_attentions, output_hidden_states, dropout_rng
        )
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()


class FlaxCLIPTextModelWithProjection(FlaxCLIPTextPreTrainedModel):
    """The text tower and its projection to the space shared with images."""

    architecture = "CLIPTextModelWithProjection"
    has_projection = True

    def make_layers(self, config: CLIPTextConfig, dtype: Any) -> None:
        self.text_model = TextTransformer(config, dtype)
        self.text_projection = linear(config.hidden_size, config.projection_dim, dtype, bias=False)

    @across_devices
    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        params: dict[str, Any] | None = None,
        dropout_rng: Array | None = None,
        train: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CLIPTextModelOutput | tuple[Any, ...]:
        """Encodes and projects texts; arguments and errors as of `FlaxCLIPTextModel.__call__`.

        Returns:
            `CLIPTextModelOutput`, whose ``text_embeds`` ``[batch, embed]`` is not normalised, or a tuple.
        """
        model, dropout_rng = self.with_params(params), self.dropout_key(train, dropout_rng)
        output = model.text_model(
            input_ids, attention_mask, position_ids, output_attentions, output_hidden_states, dropout_rng
        )
        embeds = model.text_projection(output.pooler_output)  # [batch, embed]
        projected = CLIPTextModelOutput.from_tower(embeds, output)
        return projected if default(return_dict, self.config.return_dict) else projected.to_tuple()
