"""The text tower, for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from clip_core.checks import LEGACY_EOS_TOKEN_ID, check_text_input, check_text_values
from clip_core.config import CLIPTextConfig
from clip_core.outputs import BaseModelOutputWithPooling, CLIPTextModelOutput
from clip_core.padding import needed, rounded_up
from clip_tf.arguments import unpacked
from clip_tf.frameworks import framework
from clip_tf.layers import (
    Encoder,
    Tensor,
    are_ours,
    default,
    dtype_name,
    embedding,
    host_values,
    layer_norm,
    linear,
    optional_input,
    plain_errors,
    sizes,
    tensor_input,
)
from clip_tf.weights import TFCLIPPreTrainedModel


class TextEmbeddings(keras.layers.Layer):
    """Token embedding plus position embedding."""

    def __init__(self, config: CLIPTextConfig, *, name: str) -> None:
        super().__init__(name=name)
        self.positions = config.max_position_embeddings
        with keras.name_scope(name, caller=self):
            self.token_embedding = embedding(config.vocab_size, config.hidden_size, name="token_embedding")
            self.position_embedding = embedding(self.positions, config.hidden_size, name="position_embedding")

    def call(self, input_ids: Tensor, position_ids: Tensor | None) -> Tensor:
        """Ids ``[batch, token]`` to ``[batch, token, hidden]``; positions count from 0 unless given."""
        if position_ids is None:
            position_ids = framework.positions(ops.shape(input_ids)[1], self.positions)[None]  # [1, token]
        return self.token_embedding(input_ids) + self.position_embedding(position_ids)  # [batch, token, hidden]


class TextTransformer(keras.layers.Layer):
    """Embeddings, causal encoder, final LayerNorm, and the end-of-text token as the pooled output."""

    def __init__(self, config: CLIPTextConfig, *, name: str) -> None:
        super().__init__(name=name)
        self.config = config
        with keras.name_scope(name, caller=self):
            self.embeddings = TextEmbeddings(config, name="embeddings")
            self.encoder = Encoder(config, name="encoder")
            self.final_layer_norm = layer_norm(config, name="final_layer_norm")

    def call(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Ids, mask (1 is a token, 0 padding) and positions ``[batch, token]`` to the tower's output."""
        input_ids = tensor_input("input_ids", input_ids)
        attention_mask = optional_input("attention_mask", attention_mask)
        position_ids = optional_input("position_ids", position_ids)
        values_are_checked = self.check(input_ids, attention_mask, position_ids)
        last_hidden_state, hidden_states, attentions = self.encoder(
            self.embeddings(input_ids, position_ids),
            self.causal_mask(ops.shape(input_ids)[1], attention_mask),
            output_attentions=default(output_attentions, self.config.output_attentions),
            output_hidden_states=default(output_hidden_states, self.config.output_hidden_states),
        )
        last_hidden_state = self.final_layer_norm(last_hidden_state)
        pooled = self.pool(last_hidden_state, input_ids)  # [batch, hidden]
        if not values_are_checked:
            pooled = self.without_bad_texts(pooled, input_ids, attention_mask, position_ids)
        return BaseModelOutputWithPooling.of(
            {
                "last_hidden_state": last_hidden_state,
                "pooler_output": pooled,
                "hidden_states": hidden_states,
                "attentions": attentions,
            }
        )

    def check(self, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None) -> bool:
        """Raises for shapes and dtypes always, for values if they lie in host memory; whether all of them do."""
        given = (input_ids, attention_mask, position_ids)
        ids, mask, positions = seen = tuple(map(host_values, given))
        with plain_errors():
            check_text_input(
                sizes(input_ids),
                dtype_name(input_ids),
                None if attention_mask is None else sizes(attention_mask),
                None if position_ids is None else sizes(position_ids),
                self.config,
            )
            check_text_values(ids, mask, positions, self.config)
        return all(tensor is None or values is not None for tensor, values in zip(given, seen, strict=True))

    def causal_mask(self, length: int | Tensor, attention_mask: Tensor | None) -> Tensor:
        """True where a query may see a key: not later than itself, and no padding."""
        position = ops.arange(length, dtype="int32")
        causal = (position[:, None] >= position)[None, None]  # [1, 1, query, key]
        if attention_mask is None:
            return causal
        return causal & ops.cast(ops.expand_dims(attention_mask, (1, 2)), "bool")  # [batch, 1, query, key]

    def pool(self, last_hidden_state: Tensor, input_ids: Tensor) -> Tensor:
        """The hidden state at the end of the text, ``[batch, hidden]``.

        The end is the first ``eos_token_id``; in configurations where that is 2, from before transformers 4.30, the
        first largest id.
        """
        if self.config.eos_token_id == LEGACY_EOS_TOKEN_ID:
            end = ops.argmax(input_ids, axis=-1)  # [batch]
        else:
            end = ops.argmax(ops.cast(input_ids == self.config.eos_token_id, "int32"), axis=-1)  # [batch]
        return framework.rows_at(last_hidden_state, end)  # [batch, hidden]

    def without_bad_texts(
        self, pooled: Tensor, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None
    ) -> Tensor:
        """NaN in the rows of ``pooled`` ``[batch, hidden]`` of texts that `check_text_values` would refuse.

        In compiled graphs and on other devices nothing can be raised, and a finite number would be taken for an answer.
        """
        config = self.config
        bad = ops.any((input_ids < 0) | (input_ids >= config.vocab_size), axis=-1)  # [batch]
        if config.eos_token_id != LEGACY_EOS_TOKEN_ID:
            bad = bad | ops.all(input_ids != config.eos_token_id, axis=-1)
        if attention_mask is not None:  # begins with padding, has no token, or is one that is added to scores
            zero, one = attention_mask == 0, attention_mask == 1
            bad = bad | zero[:, 0] | ops.any(~(zero | one), axis=-1)
        if position_ids is not None:
            odd = (position_ids < 0) | (position_ids >= config.max_position_embeddings)
            bad = bad | ops.any(odd, axis=-1)
        return ops.where(bad[:, None], float("nan"), pooled)  # [batch, hidden]


def without_padding(
    tower: keras.layers.Layer,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    training: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The inputs of a text tower, cut to what its pooled output depends on; see `clip_core.padding`.

    They stay as they are where not all values lie in host memory, in a tower that somebody changed, and where attention
    is dropped out, at random for each key.

    Raises:
        InputError, InputTypeError: as the tower does, for all columns.
    """
    given = input_ids, attention_mask, position_ids
    ids, mask, _ = seen = tuple(map(host_values, given))
    if ids is None or any(a is not None and b is None for a, b in zip(given, seen, strict=True)):
        return given
    if type(tower) is not TextTransformer or (training and tower.config.attention_dropout):
        return given
    methods = {"call", "causal_mask", "pool"}.isdisjoint(vars(tower)) and "call" not in vars(tower.encoder)
    if not (methods and type(tower.encoder) is Encoder and are_ours(tower.encoder.layers)):
        return given
    tower.check(*given)
    length, is_masked = needed(ids, mask, tower.config)
    if framework.COMPILES_EACH_SHAPE:
        length = rounded_up(length, ids.shape[1])
    return (
        input_ids[:, :length],
        attention_mask[:, :length] if attention_mask is not None and is_masked else None,
        None if position_ids is None else position_ids[:, :length],
    )


@keras.saving.register_keras_serializable(package="triclip")
class TFCLIPTextModel(TFCLIPPreTrainedModel):
    """The text tower."""

    config_class = CLIPTextConfig
    architecture = "CLIPTextModel"

    def make_layers(self, config: CLIPTextConfig) -> None:
        self.text_model = TextTransformer(config, name="text_model")

    @unpacked
    def call(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        training: bool = False,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encodes texts.

        Args:
            input_ids: ``[batch, token]`` integers.
            attention_mask: ``[batch, token]``, 1 for tokens and 0 for padding, which is at the right.
            position_ids: ``[batch, token]`` or ``[1, token]``; from 0 unless given.
            output_attentions, output_hidden_states, return_dict: as the configuration says unless given.
            training: whether attention is dropped out and gradient checkpointing has an effect.

        Returns:
            `BaseModelOutputWithPooling`, or a tuple of its fields with ``return_dict=False``.

        Raises:
            InputError, InputTypeError: shapes, dtypes, or values in host memory that the tower cannot take.
        """
        output = self.text_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            training=training,
        )
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()


@keras.saving.register_keras_serializable(package="triclip")
class TFCLIPTextModelWithProjection(TFCLIPPreTrainedModel):
    """The text tower and its projection to the space shared with images."""

    config_class = CLIPTextConfig
    architecture = "CLIPTextModelWithProjection"
    has_projection = True

    def make_layers(self, config: CLIPTextConfig) -> None:
        self.text_model = TextTransformer(config, name="text_model")
        self.text_projection = linear(config.hidden_size, config.projection_dim, bias=False, name="text_projection")

    @unpacked
    def call(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        training: bool = False,
    ) -> CLIPTextModelOutput | tuple[Any, ...]:
        """Encodes and projects texts; arguments and errors as of `TFCLIPTextModel.call`.

        Returns:
            `CLIPTextModelOutput`, whose ``text_embeds`` ``[batch, embed]`` is not normalised, or a tuple.
        """
        output = self.text_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            training=training,
        )
        embeds = self.text_projection(output.pooler_output)  # [batch, embed]
        projected = CLIPTextModelOutput.from_tower(embeds, output)
        return projected if default(return_dict, self.config.return_dict) else projected.to_tuple()
