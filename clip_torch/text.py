"""The text tower, for PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clip_core.checks import LEGACY_EOS_TOKEN_ID, check_text_input, check_text_values
from clip_core.config import CLIPTextConfig
from clip_core.errors import InputError
from clip_core.outputs import BaseModelOutputWithPooling, CLIPTextModelOutput
from clip_core.padding import needed
from clip_torch.layers import (
    Encoder,
    are_ours,
    default,
    host_values,
    is_ours,
    is_watched,
    layer_norm,
    linear,
    optional_input,
    refuse_meta,
    tensor_input,
)
from clip_torch.weights import CLIPPreTrainedModel


class TextEmbeddings(nn.Module):
    """Token embedding plus position embedding."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)

    def forward(
        self,
        input_ids: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
    ) -> Tensor:
        """Ids ``[batch, token]`` to ``[batch, token, hidden]``; positions count from 0 unless given.

        ``inputs_embeds`` ``[batch, token, hidden]`` are taken in the place of the ids' embeddings.

        Raises:
            InputError: ids and embeddings, or neither; or more tokens than there are positions.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise InputError("expected input_ids or inputs_embeds, one of them.")
        tokens: Tensor = self.token_embedding(input_ids) if inputs_embeds is None else inputs_embeds
        length, longest = tokens.shape[1], self.position_embedding.num_embeddings
        if length > longest:
            raise InputError(f"expected at most {longest} tokens, got {length}. Cut the texts: truncation=True.")
        if position_ids is None:
            position_ids = torch.arange(length, device=tokens.device)[None]  # [1, token]
        return tokens + self.position_embedding(position_ids)  # [batch, token, hidden]


class TextTransformer(nn.Module):
    """Embeddings, causal encoder, final LayerNorm, and the end-of-text token as the pooled output."""

    def __init__(self, config: CLIPTextConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = layer_norm(config)

    def forward(
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
        for name, value in (
            ("input_ids", input_ids),
            ("attention_mask", attention_mask),
            ("position_ids", position_ids),
        ):
            refuse_meta(name, value, self.final_layer_norm.weight)
        values_are_checked = self.check(input_ids, attention_mask, position_ids)
        is_causal = attention_mask is None and is_ours(self.causal_mask, CAUSAL_MASK) and type(self.encoder) is Encoder
        last_hidden_state, hidden_states, attentions = self.encoder(
            self.embeddings(input_ids, position_ids),
            self.causal_mask(input_ids.shape[1], attention_mask, input_ids.device),
            default(output_attentions, self.config.output_attentions),
            default(output_hidden_states, self.config.output_hidden_states),
            **({"is_causal": True} if is_causal else {}),
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
        check_text_input(
            tuple(input_ids.shape),
            str(input_ids.dtype),
            None if attention_mask is None else tuple(attention_mask.shape),
            None if position_ids is None else tuple(position_ids.shape),
            self.config,
        )
        given = (input_ids, attention_mask, position_ids)
        ids, mask, positions = seen = tuple(map(host_values, given))
        check_text_values(ids, mask, positions, self.config)
        return all(tensor is None or values is not None for tensor, values in zip(given, seen, strict=True))

    def causal_mask(self, length: int, attention_mask: Tensor | None, device: torch.device) -> Tensor:
        """True where a query may see a key: not later than itself, and no padding."""
        causal = torch.ones(length, length, dtype=torch.bool, device=device).tril()[None, None]  # [1, 1, query, key]
        if attention_mask is None:
            return causal
        return causal & attention_mask[:, None, None, :].bool()  # [batch, 1, query, key]

    def pool(self, last_hidden_state: Tensor, input_ids: Tensor) -> Tensor:
        """The hidden state at the end of the text, ``[batch, hidden]``.

        The end is the first ``eos_token_id``; in configurations where that is 2, from before transformers 4.30, the
        first largest id.
        """
        if self.config.eos_token_id == LEGACY_EOS_TOKEN_ID:
            end = input_ids.argmax(dim=-1)  # [batch]
        else:
            end = (input_ids == self.config.eos_token_id).int().argmax(dim=-1)  # [batch]
        batch = torch.arange(input_ids.shape[0], device=input_ids.device)
        return last_hidden_state[batch, end]  # [batch, hidden]

    def without_bad_texts(
        self, pooled: Tensor, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None
    ) -> Tensor:
        """NaN in the rows of ``pooled`` ``[batch, hidden]`` of texts that `check_text_values` would refuse.

        In compiled graphs and on other devices nothing can be raised, and a finite number would be taken for an answer.
        """
        config = self.config
        bad = ((input_ids < 0) | (input_ids >= config.vocab_size)).any(dim=-1)  # [batch]
        if config.eos_token_id != LEGACY_EOS_TOKEN_ID:
            bad = bad | (input_ids != config.eos_token_id).all(dim=-1)
        if attention_mask is not None:  # begins with padding, has no token, or is one that is added to scores
            bad = bad | (attention_mask[:, 0] == 0) | ((attention_mask != 0) & (attention_mask != 1)).any(dim=-1)
        if position_ids is not None:
            bad = bad | ((position_ids < 0) | (position_ids >= config.max_position_embeddings)).any(dim=-1)
        return torch.where(bad[:, None], torch.nan, pooled)  # [batch, hidden]


CAUSAL_MASK, POOL = TextTransformer.causal_mask, TextTransformer.pool


def without_padding(
    tower: nn.Module, input_ids: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The inputs of a text tower, cut to what its pooled output depends on; see `clip_core.padding`.

    They stay as they are where not all values lie in host memory, in a tower that somebody changed or looks into, and
    where attention is dropped out, at random for each key.

    Raises:
        InputError, InputTypeError: as the tower does, for all columns.
    """
    given = input_ids, attention_mask, position_ids
    ids, mask, _ = seen = tuple(map(host_values, given))
    if ids is None or any(a is not None and b is None for a, b in zip(given, seen, strict=True)):
        return given
    if type(tower) is not TextTransformer or (tower.training and tower.config.attention_dropout):
        return given
    methods = is_ours(tower.causal_mask, CAUSAL_MASK) and is_ours(tower.pool, POOL)
    ours = methods and type(tower.encoder) is Encoder and are_ours(tower.encoder.layers)
    if not ours or is_watched(tower.modules()):
        return given
    tower.check(*given)
    length, is_masked = needed(ids, mask, tower.config)
    return (
        input_ids[:, :length],
        attention_mask[:, :length] if attention_mask is not None and is_masked else None,
        None if position_ids is None else position_ids[:, :length],
    )


class CLIPTextModel(CLIPPreTrainedModel):
    """The text tower."""

    config_class = CLIPTextConfig
    architecture = "CLIPTextModel"

    def make_layers(self, config: CLIPTextConfig) -> None:
        self.text_model = TextTransformer(config)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encodes texts.

        Args:
            input_ids: ``[batch, token]`` integers.
            attention_mask: ``[batch, token]``, 1 for tokens and 0 for padding, which is at the right.
            position_ids: ``[batch, token]`` or ``[1, token]``; from 0 unless given.
            output_attentions, output_hidden_states, return_dict: as the configuration says unless given.

        Returns:
            `BaseModelOutputWithPooling`, or a tuple of its fields with ``return_dict=False``.

        Raises:
            InputError, InputTypeError: shapes, dtypes, or values in host memory that the tower cannot take.
        """
        output = self.text_model(input_ids, attention_mask, position_ids, output_attentions, output_hidden_states)
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()


class CLIPTextModelWithProjection(CLIPPreTrainedModel):
    """The text tower and its projection to the space shared with images."""

    config_class = CLIPTextConfig
    architecture = "CLIPTextModelWithProjection"
    has_projection = True

    def make_layers(self, config: CLIPTextConfig) -> None:
        self.text_model = TextTransformer(config)
        self.text_projection = linear(config.hidden_size, config.projection_dim, bias=False)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CLIPTextModelOutput | tuple[Any, ...]:
        """Encodes and projects texts; arguments and errors as of `CLIPTextModel.forward`.

        Returns:
            `CLIPTextModelOutput`, whose ``text_embeds`` ``[batch, embed]`` is not normalised, or a tuple.
        """
        output = self.text_model(input_ids, attention_mask, position_ids, output_attentions, output_hidden_states)
        embeds = self.text_projection(output.pooler_output)  # [batch, embed]
        projected = CLIPTextModelOutput.from_tower(embeds, output)
        return projected if default(return_dict, self.config.return_dict) else projected.to_tuple()
