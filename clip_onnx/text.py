"""The text tower, for ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from clip_core.checks import check_text_input, check_text_values
from clip_core.config import CLIPTextConfig
from clip_core.outputs import BaseModelOutputWithPooling, CLIPTextModelOutput
from clip_core.padding import needed
from clip_onnx.graph import Graph
from clip_onnx.inputs import Array, array_input, default, optional_input
from clip_onnx.text_graph import text_inputs, text_projection, text_tower
from clip_onnx.towers import fields_of, give_out
from clip_onnx.weights import CLIPPreTrainedModel


class TextTransformer:
    """The text tower of a model.

    Args:
        model: whose weights it has.
        config: of the tower.
    """

    def __init__(self, model: CLIPPreTrainedModel, config: CLIPTextConfig) -> None:
        self.model, self.config = model, config

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Ids, mask (1 is a token, 0 padding) and positions ``[batch, token]`` to the tower's output."""
        inputs = self.checked(input_ids, attention_mask, position_ids)
        return BaseModelOutputWithPooling.of(self.fields(inputs, output_attentions, output_hidden_states))

    def checked(self, ids: Any, mask: Any = None, positions: Any = None) -> dict[str, Array]:
        """The inputs; a mask of ones and positions from 0 where there are none.

        Raises:
            InputError, InputTypeError: shapes, dtypes or values that the tower cannot take.
        """
        ids = array_input("input_ids", ids)
        mask, positions = optional_input("attention_mask", mask), optional_input("position_ids", positions)
        shapes = [None if value is None else value.shape for value in (mask, positions)]
        check_text_input(ids.shape, str(ids.dtype), shapes[0], shapes[1], self.config)
        check_text_values(ids, mask, positions, self.config)
        mask = np.ones_like(ids) if mask is None else mask
        positions = np.arange(ids.shape[1])[None] if positions is None else positions
        inputs = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        return {name: np.ascontiguousarray(value, np.int64) for name, value in inputs.items()}

    def fields(
        self, inputs: dict[str, Array], output_attentions: bool | None, output_hidden_states: bool | None
    ) -> dict[str, Any]:
        """The fields of the output, by their names."""
        attentions = default(output_attentions, self.config.output_attentions)
        states = default(output_hidden_states, self.config.output_hidden_states)
        everything = attentions or states
        program = self.model.program(("text", everything), lambda graph: self.fill(graph, True, everything))
        return fields_of(program.run(inputs), states, attentions)

    def features(self, ids: Any, mask: Any = None, positions: Any = None) -> Array:
        """Projected text embeddings ``[batch, embed]``.

        Tokens behind the last end of a text have no part in them, and are left out.
        """
        inputs = self.checked(ids, mask, positions)
        length, _ = needed(inputs["input_ids"], inputs["attention_mask"], self.config)
        inputs = {name: np.ascontiguousarray(value[:, :length]) for name, value in inputs.items()}
        program = self.model.program(("text", False), lambda graph: self.fill(graph, True))
        return program.run(inputs, ("text_embeds",))["text_embeds"]

    def fill(self, graph: Graph, positions: bool = False, everything: bool = False) -> None:
        """Writes the tower into a graph of its own, with its projection if the model has it.

        Args:
            positions: whether they are an input.
            everything: whether hidden states and attentions are given out.
        """
        ids, mask, places = text_inputs(graph, positions)
        tower = text_tower(graph, self.config, ids, mask, places, everything)
        if self.model.has_projection:
            embed = self.model.config.projection_dim
            graph.output("text_embeds", text_projection(graph, tower.pooler_output), ("batch", embed))
        give_out(graph, tower, "token", self.config.hidden_size)


class CLIPTextModel(CLIPPreTrainedModel):
    """The text tower."""

    config_class = CLIPTextConfig
    architecture = "CLIPTextModel"

    def make_layers(self, config: CLIPTextConfig) -> None:
        self.text_model = TextTransformer(self, config)

    def fill(self, graph: Graph) -> None:
        self.text_model.fill(graph)

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
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
            InputError, InputTypeError: shapes, dtypes or values that the tower cannot take.
        """
        output = self.text_model(input_ids, attention_mask, position_ids, output_attentions, output_hidden_states)
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()


class CLIPTextModelWithProjection(CLIPPreTrainedModel):
    """The text tower and its projection to the space shared with images."""

    config_class = CLIPTextConfig
    architecture = "CLIPTextModelWithProjection"
    has_projection = True

    def make_layers(self, config: CLIPTextConfig) -> None:
        self.text_model = TextTransformer(self, config)

    def fill(self, graph: Graph) -> None:
        self.text_model.fill(graph)

    def __call__(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> CLIPTextModelOutput | tuple[Any, ...]:
        """Encodes and projects texts; arguments and errors as of `CLIPTextModel`.

        Returns:
            `CLIPTextModelOutput`, whose ``text_embeds`` ``[batch, embed]`` is not normalised, or a tuple.
        """
        inputs = self.text_model.checked(input_ids, attention_mask, position_ids)
        output = CLIPTextModelOutput.of(self.text_model.fields(inputs, output_attentions, output_hidden_states))
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()
