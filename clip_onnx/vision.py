"""The vision tower, for ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from clip_core.checks import check_pixel_input, check_pixel_values
from clip_core.config import CLIPVisionConfig
from clip_core.errors import InputError
from clip_core.outputs import BaseModelOutputWithPooling, CLIPVisionModelOutput
from clip_onnx.graph import Graph
from clip_onnx.inputs import Array, array_input, default
from clip_onnx.towers import fields_of, give_out
from clip_onnx.vision_graph import patch_grid, vision_inputs, vision_tower, visual_projection
from clip_onnx.weights import CLIPPreTrainedModel


class VisionTransformer:
    """The vision tower of a model.

    Args:
        model: whose weights it has.
        config: of the tower.
    """

    def __init__(self, model: CLIPPreTrainedModel, config: CLIPVisionConfig) -> None:
        self.model, self.config = model, config

    def __call__(
        self,
        pixel_values: Array,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Pixels ``[batch, channel, height, width]`` to the tower's output."""
        pixels = self.checked(pixel_values, interpolate_pos_encoding)
        return BaseModelOutputWithPooling.of(self.fields(pixels, output_attentions, output_hidden_states))

    def checked(self, pixel_values: Any, interpolate_pos_encoding: bool) -> Array:
        """The input.

        Raises:
            InputError, InputTypeError: a shape, dtype or values that the tower cannot take.
        """
        pixels = array_input("pixel_values", pixel_values)
        check_pixel_input(pixels.shape, str(pixels.dtype), self.config, interpolate_pos_encoding)
        check_pixel_values(pixels)
        if self.model.dtype == "int8" and not np.isfinite(pixels).all():
            raise InputError("pixel_values: expected finite numbers, which alone can be rounded to int8; got others.")
        return np.ascontiguousarray(pixels, np.float32)

    def fields(
        self, pixels: Array, output_attentions: bool | None, output_hidden_states: bool | None
    ) -> dict[str, Any]:
        """The fields of the output, by their names."""
        attentions = default(output_attentions, self.config.output_attentions)
        states = default(output_hidden_states, self.config.output_hidden_states)
        everything, size = attentions or states, self._size(pixels)
        program = self.model.program(("vision", size, everything), lambda graph: self.fill(graph, size, everything))
        return fields_of(program.run({"pixel_values": pixels}), states, attentions)

    def features(self, pixel_values: Any, interpolate_pos_encoding: bool = False) -> Array:
        """Projected image embeddings ``[batch, embed]``."""
        pixels = self.checked(pixel_values, interpolate_pos_encoding)
        size = self._size(pixels)
        program = self.model.program(("image_embeds", size), lambda graph: self.fill_features(graph, size))
        return program.run({"pixel_values": pixels})["image_embeds"]

    def _size(self, pixels: Array) -> tuple[int, int]:
        return (pixels.shape[2], pixels.shape[3])

    def fill_features(self, graph: Graph, size: tuple[int, int]) -> None:
        """Writes what `features` needs into a graph of its own, for images of a height and width."""
        pixels = vision_inputs(graph, self.config, size)
        pooled = vision_tower(graph, self.config, pixels, size, pooled_only=True).pooler_output
        embed = self.model.config.projection_dim
        graph.output("image_embeds", visual_projection(graph, self.config, pooled), ("batch", embed))

    def fill(self, graph: Graph, size: tuple[int, int] | None = None, everything: bool = False) -> None:
        """Writes the tower into a graph of its own, with its projection if the model has it.

        Args:
            size: height and width of the images; those of the configuration unless given.
            everything: whether hidden states and attentions are given out.
        """
        config = self.config
        height, width = size or (config.image_size, config.image_size)
        tower = vision_tower(graph, config, vision_inputs(graph, config, (height, width)), (height, width), everything)
        if self.model.has_projection:
            embed = self.model.config.projection_dim
            graph.output("image_embeds", visual_projection(graph, config, tower.pooler_output), ("batch", embed))
        rows, columns = patch_grid(config, height, width)
        give_out(graph, tower, rows * columns + (0 if config.is_resnet else 1), config.hidden_size)


class CLIPVisionModel(CLIPPreTrainedModel):
    """The vision tower."""

    config_class = CLIPVisionConfig
    architecture = "CLIPVisionModel"

    def make_layers(self, config: CLIPVisionConfig) -> None:
        self.vision_model = VisionTransformer(self, config)

    def fill(self, graph: Graph) -> None:
        self.vision_model.fill(graph)

    def __call__(
        self,
        pixel_values: Array,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encodes images.

        Args:
            pixel_values: ``[batch, channel, height, width]`` floating-point numbers, normalised as the image
                processor does.
            interpolate_pos_encoding: resample the position embeddings, so that images of other sizes fit. Each size has
                a program of its own, which takes a moment to make.
            output_attentions, output_hidden_states, return_dict: as the configuration says unless given.

        Returns:
            `BaseModelOutputWithPooling`, or a tuple of its fields with ``return_dict=False``.

        Raises:
            InputError, InputTypeError: a shape, dtype or values that the tower cannot take.
        """
        output = self.vision_model(pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding)
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()


class CLIPVisionModelWithProjection(CLIPPreTrainedModel):
    """The vision tower and its projection to the space shared with texts."""

    config_class = CLIPVisionConfig
    architecture = "CLIPVisionModelWithProjection"
    has_projection = True

    def make_layers(self, config: CLIPVisionConfig) -> None:
        self.vision_model = VisionTransformer(self, config)

    def fill(self, graph: Graph) -> None:
        self.vision_model.fill(graph)

    def __call__(
        self,
        pixel_values: Array,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> CLIPVisionModelOutput | tuple[Any, ...]:
        """Encodes and projects images; arguments and errors as of `CLIPVisionModel`.

        Returns:
            `CLIPVisionModelOutput`, whose ``image_embeds`` ``[batch, embed]`` is not normalised, or a tuple.
        """
        pixels = self.vision_model.checked(pixel_values, interpolate_pos_encoding)
        output = CLIPVisionModelOutput.of(self.vision_model.fields(pixels, output_attentions, output_hidden_states))
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()
