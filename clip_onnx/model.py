"""The CLIP model: both towers, their projections, logits and loss, for ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clip_core.checks import check_pair_counts
from clip_core.config import CLIPConfig
from clip_core.errors import InputError
from clip_core.outputs import BaseModelOutputWithPooling, CLIPOutput
from clip_onnx.graph import Graph
from clip_onnx.inputs import Array, default
from clip_onnx.text import TextTransformer
from clip_onnx.text_graph import text_inputs, text_projection, text_tower
from clip_onnx.vision import VisionTransformer
from clip_onnx.vision_graph import vision_inputs, vision_tower, visual_projection
from clip_onnx.weights import CLIPPreTrainedModel

TOWERS = ("image", "text")


class CLIPModel(CLIPPreTrainedModel):
    """Both towers, their projections and the logit scale."""

    config_class = CLIPConfig
    architecture = "CLIPModel"
    has_projection = True

    def make_layers(self, config: CLIPConfig) -> None:
        self.text_model = TextTransformer(self, config.text_config)
        self.vision_model = VisionTransformer(self, config.vision_config)

    def get_text_features(
        self, input_ids: Array, attention_mask: Array | None = None, position_ids: Array | None = None
    ) -> NDArray[np.float32]:
        """Projected text embeddings ``[batch, embed]``, not normalised; arguments as of `CLIPTextModel`."""
        return self.text_model.features(input_ids, attention_mask, position_ids)

    def get_image_features(self, pixel_values: Array, interpolate_pos_encoding: bool = False) -> NDArray[np.float32]:
        """Projected image embeddings ``[batch, embed]``, not normalised; arguments as of `CLIPVisionModel`."""
        return self.vision_model.features(pixel_values, interpolate_pos_encoding)

    def __call__(
        self,
        input_ids: Array,
        pixel_values: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        return_loss: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> CLIPOutput | tuple[Any, ...]:
        """Compares every image with every text; arguments as of the towers.

        Args:
            return_loss: also the symmetric contrastive loss; the i-th image belongs to the i-th text.

        Returns:
            `CLIPOutput`, or a tuple of its fields with ``return_dict=False``.

        Raises:
            InputError, InputTypeError: as the towers; or ``return_loss`` with unequal numbers of images and texts.
        """
        flags = (
            default(output_attentions, self.config.output_attentions),
            default(output_hidden_states, self.config.output_hidden_states),
        )
        texts = self.text_model.checked(input_ids, attention_mask, position_ids)
        images = self.vision_model.checked(pixel_values, interpolate_pos_encoding)
        if return_loss:
            check_pair_counts(len(images), len(texts["input_ids"]))
        text_fields = self.text_model.fields(texts, *flags)
        vision_fields = self.vision_model.fields(images, *flags)
        text_embeds = unit_length(text_fields["text_embeds"])  # [text, embed]
        image_embeds = unit_length(vision_fields["image_embeds"])  # [image, embed]
        logits_per_text = self.logits(text_embeds, image_embeds)  # [text, image]
        output = CLIPOutput.of(
            {
                "loss": contrastive_loss(logits_per_text) if return_loss else None,
                "logits_per_image": logits_per_text.T,  # [image, text]
                "logits_per_text": logits_per_text,
                "text_embeds": text_embeds,
                "image_embeds": image_embeds,
                "text_model_output": BaseModelOutputWithPooling.of(text_fields),
                "vision_model_output": BaseModelOutputWithPooling.of(vision_fields),
            }
        )
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()

    def logits(self, text_embeds: Array, image_embeds: Array) -> NDArray[np.float32]:
        """Cosine similarities of unit vectors times the scale: ``[text, image]``."""
        scale = np.exp(np.float32(self.named_weights()["logit_scale"]))
        return np.asarray(np.asarray(text_embeds, np.float32) @ np.asarray(image_embeds, np.float32).T * scale)

    def export(
        self,
        path: str | PathLike[str],
        *,
        dtype: str | None = None,
        metadata: Mapping[str, str] | None = None,
        tower: Literal["image", "text"] | None = None,
    ) -> tuple[Path, ...]:
        """Writes the model as an ONNX file; arguments and errors as of every model's.

        Args:
            tower: write only that one, with its projection. Without it, inputs and outputs are those of the whole:
                ``input_ids``, ``attention_mask`` and ``pixel_values`` to ``logits_per_image``, ``logits_per_text`` and
                embeddings of unit length.

        Raises:
            InputError: no such tower.
        """
        if tower not in (None, *TOWERS):
            raise InputError(f"tower: expected {' or '.join(TOWERS)}, got {tower!r}.")
        fill = {None: self.fill, "image": self.vision_model.fill, "text": self.text_model.fill}[tower]
        return self.write(path, fill, dtype, metadata)

    def fill(self, graph: Graph) -> None:
        config = self.config
        ids, mask, _ = text_inputs(graph, batch="text_batch")
        pixels = vision_inputs(graph, config.vision_config, batch="image_batch")
        texts = text_projection(graph, text_tower(graph, config.text_config, ids, mask).pooler_output)
        pooled = vision_tower(graph, config.vision_config, pixels, pooled_only=True).pooler_output
        images = visual_projection(graph, config.vision_config, pooled)
        texts, images = (_unit_length(graph, embeds) for embeds in (texts, images))
        scale = graph.add("Exp", graph.weight("logit_scale"))
        cosines = graph.add("MatMul", texts, graph.add("Transpose", images, perm=[1, 0]))  # [text, image]
        logits = graph.add("Mul", cosines, scale)
        per_image = graph.add("Transpose", logits, perm=[1, 0])
        graph.output("logits_per_image", per_image, ("image_batch", "text_batch"))
        graph.output("logits_per_text", logits, ("text_batch", "image_batch"))
        graph.output("text_embeds", texts, ("text_batch", config.projection_dim))
        graph.output("image_embeds", images, ("image_batch", config.projection_dim))


def unit_length(embeds: Array) -> NDArray[np.float32]:
    """Embeddings ``[batch, embed]`` divided by their length."""
    wide = np.asarray(embeds, np.float32)
    return wide / np.sqrt(np.square(wide).sum(axis=-1, keepdims=True))


def contrastive_loss(logits_per_text: Array) -> NDArray[np.float32]:
    """The mean of both cross entropies, scalar: each text finds its image and each image its text (CLIP, figure 3).

    Args:
        logits_per_text: ``[text, image]``; the i-th image belongs to the i-th text.

    Raises:
        InputError: other numbers of images than of texts.
    """
    check_pair_counts(logits_per_text.shape[1], logits_per_text.shape[0])
    logits = logits_per_text.astype(np.float64)
    normalisers = [_log_sum_exp(logits, axis) for axis in (0, 1)]
    return np.asarray(np.mean([normaliser - np.diag(logits) for normaliser in normalisers]), np.float32)


def _log_sum_exp(logits: Array, axis: int) -> Array:
    largest = logits.max(axis=axis, keepdims=True)
    return np.squeeze(np.log(np.exp(logits - largest).sum(axis=axis, keepdims=True)) + largest, axis)


def _unit_length(graph: Graph, embeds: str) -> str:
    length = graph.add("ReduceL2", embeds, graph.constant([1], "int64"), keepdims=1)
    return graph.add("Div", embeds, length)
