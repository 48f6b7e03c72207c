"""The CLIP model: both towers, their projections, logits and loss, for Flax.

Source of the architecture: Radford et al. 2021, section 2.4; of names and semantics: transformers 4.57.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, export

from clip_core.checks import check_pair_counts
from clip_core.config import CLIPConfig
from clip_core.outputs import CLIPOutput, all_output_types
from clip_flax.layers import default, linear, no_weight
from clip_flax.text import TextTransformer
from clip_flax.vision import VisionTransformer
from clip_flax.weights import FlaxCLIPPreTrainedModel

for _output in all_output_types():  # so that jax.export can serialize programs that return them
    export.register_namedtuple_serialization(_output, serialized_name=f"clip_core.outputs.{_output.__name__}")


class FlaxCLIPModel(FlaxCLIPPreTrainedModel):
    """Both towers, their projections and the logit scale."""

    config_class = CLIPConfig
    architecture = "CLIPModel"
    has_projection = True

    def make_layers(self, config: CLIPConfig, dtype: Any) -> None:
        self.text_model = TextTransformer(config.text_config, dtype)
        self.vision_model = VisionTransformer(config.vision_config, dtype)
        self.visual_projection = linear(config.vision_config.hidden_size, config.projection_dim, dtype, bias=False)
        self.text_projection = linear(config.text_config.hidden_size, config.projection_dim, dtype, bias=False)
        self.logit_scale = nnx.Param(no_weight(None, (), dtype))

    def get_text_features(
        self,
        input_ids: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        params: dict[str, Any] | None = None,
        dropout_rng: Array | None = None,
        train: bool = False,
    ) -> Array:
        """Projected text embeddings ``[batch, embed]``, not normalised; arguments as of `FlaxCLIPTextModel`."""
        model, dropout_rng = self.with_params(params), self.dropout_key(train, dropout_rng)
        output = model.text_model(input_ids, attention_mask, position_ids, False, False, dropout_rng)
        return model.text_projection(output.pooler_output)  # [batch, embed]

    def get_image_features(
        self,
        pixel_values: Array,
        params: dict[str, Any] | None = None,
        dropout_rng: Array | None = None,
        train: bool = False,
        interpolate_pos_encoding: bool = False,
    ) -> Array:
        """Projected image embeddings ``[batch, embed]``, not normalised; arguments as of `FlaxCLIPVisionModel`."""
        model, dropout_rng = self.with_params(params), self.dropout_key(train, dropout_rng)
        output = model.vision_model(pixel_values, False, False, interpolate_pos_encoding, dropout_rng)
        return model.visual_projection(output.pooler_output)  # [batch, embed]

    def __call__(
        self,
        input_ids: Array,
        pixel_values: Array,
        attention_mask: Array | None = None,
        position_ids: Array | None = None,
        params: dict[str, Any] | None = None,
        dropout_rng: Array | None = None,
        train: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        return_loss: bool | None = None,
        interpolate_pos_encoding: bool = False,
    ) -> CLIPOutput | tuple[Any, ...]:
        """Compares every image with every text; arguments as of the towers.

        Args:
            return_loss: also the symmetric contrastive loss; the i-th image belongs to the i-th text.

        Returns:
            `CLIPOutput`, or a tuple of its fields with ``return_dict=False``. Logits and loss are float32 whatever
            the dtype of the weights.

        Raises:
            InputError, InputTypeError: as the towers; or ``return_loss`` with unequal numbers of images and texts.
            WeightMismatchError: ``params`` are not those of the configuration.
        """
        output_attentions = default(output_attentions, self.config.output_attentions)
        output_hidden_states = default(output_hidden_states, self.config.output_hidden_states)
        model, dropout_rng = self.with_params(params), self.dropout_key(train, dropout_rng)
        text_rng, vision_rng = (None, None) if dropout_rng is None else jax.random.split(dropout_rng)
        text_output = model.text_model(
            input_ids, attention_mask, position_ids, output_attentions, output_hidden_states, text_rng
        )
        vision_output = model.vision_model(
            pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding, vision_rng
        )
        text_embeds = unit_length(model.text_projection(text_output.pooler_output))  # [text, embed]
        image_embeds = unit_length(model.visual_projection(vision_output.pooler_output))  # [image, embed]
        logits_per_text = model.logits(text_embeds, image_embeds)  # [text, image]
        output = CLIPOutput.of(
            {
                "loss": contrastive_loss(logits_per_text) if return_loss else None,
                "logits_per_image": logits_per_text.T,  # [image, text]
                "logits_per_text": logits_per_text,
                "text_embeds": text_embeds,
                "image_embeds": image_embeds,
                "text_model_output": text_output,
                "vision_model_output": vision_output,
            }
        )
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()

    def logits(self, text_embeds: Array, image_embeds: Array) -> Array:
        """Cosine similarities of unit vectors times the scale, in float32: ``[text, image]``."""
        scale = jnp.exp(self.logit_scale[...].astype(jnp.float32))
        return text_embeds.astype(jnp.float32) @ image_embeds.astype(jnp.float32).T * scale  # [text, image]


def unit_length(embeds: Array) -> Array:
    """Embeddings ``[batch, embed]`` divided by their length."""
    return embeds / jnp.sqrt(jnp.square(embeds).sum(axis=-1, keepdims=True))


def contrastive_loss(logits_per_text: Array) -> Array:
    """The mean of both cross entropies, scalar: each text finds its image and each image its text (CLIP, figure 3)."""
    texts, images = logits_per_text.shape
    check_pair_counts(images, texts)
    text_loss = -jnp.diagonal(jax.nn.log_softmax(logits_per_text, axis=1)).mean()
    image_loss = -jnp.diagonal(jax.nn.log_softmax(logits_per_text, axis=0)).mean()
    return (text_loss + image_loss) / 2
