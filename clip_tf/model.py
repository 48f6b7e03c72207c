"""The CLIP model: both towers, their projections, logits and loss, for Keras on TensorFlow.

Source of the architecture: Radford et al. 2021, section 2.4; of names and semantics: transformers 4.57.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from tensorflow import Tensor

from clip_core.checks import check_pair_counts
from clip_core.config import CLIPConfig
from clip_core.outputs import CLIPOutput
from clip_tf.layers import default, linear, plain_errors
from clip_tf.text import TextTransformer
from clip_tf.vision import VisionTransformer
from clip_tf.weights import TFCLIPPreTrainedModel


@keras.saving.register_keras_serializable(package="triclip")
class TFCLIPModel(TFCLIPPreTrainedModel):
    """Both towers, their projections and the logit scale."""

    config_class = CLIPConfig
    architecture = "CLIPModel"
    has_projection = True

    def make_layers(self, config: CLIPConfig) -> None:
        embed = config.projection_dim
        self.text_model = TextTransformer(config.text_config, name="text_model")
        self.vision_model = VisionTransformer(config.vision_config, name="vision_model")
        self.visual_projection = linear(config.vision_config.hidden_size, embed, bias=False, name="visual_projection")
        self.text_projection = linear(config.text_config.hidden_size, embed, bias=False, name="text_projection")
        self.logit_scale = self.add_weight((), initializer="zeros", autocast=False, name="logit_scale")

    def get_text_features(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        training: bool = False,
    ) -> Tensor:
        """Projected text embeddings ``[batch, embed]``, not normalised; arguments as of `TFCLIPTextModel.call`."""
        output = self.text_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            output_attentions=False,
            output_hidden_states=False,
            training=training,
        )
        return self.text_projection(output.pooler_output)  # [batch, embed]

    def get_image_features(
        self, pixel_values: Tensor, interpolate_pos_encoding: bool = False, training: bool = False
    ) -> Tensor:
        """Projected image embeddings ``[batch, embed]``, not normalised; arguments as of `TFCLIPVisionModel.call`."""
        output = self.vision_model(
            pixel_values=pixel_values,
            output_attentions=False,
            output_hidden_states=False,
            interpolate_pos_encoding=interpolate_pos_encoding,
            training=training,
        )
        return self.visual_projection(output.pooler_output)  # [batch, embed]

    def call(
        self,
        input_ids: Tensor,
        pixel_values: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        return_loss: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        training: bool = False,
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
        """
        text_output = self.text_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            output_attentions=default(output_attentions, self.config.output_attentions),
            output_hidden_states=default(output_hidden_states, self.config.output_hidden_states),
        )
        vision_output = self.vision_model(
            pixel_values=pixel_values,
            output_attentions=default(output_attentions, self.config.output_attentions),
            output_hidden_states=default(output_hidden_states, self.config.output_hidden_states),
            interpolate_pos_encoding=interpolate_pos_encoding,
        )
        text_embeds = unit_length(self.text_projection(text_output.pooler_output))  # [text, embed]
        image_embeds = unit_length(self.visual_projection(vision_output.pooler_output))  # [image, embed]
        logits_per_text = self.logits(text_embeds, image_embeds)  # [text, image]
        output = CLIPOutput.of(
            {
                "loss": contrastive_loss(logits_per_text) if return_loss else None,
                "logits_per_image": tf.transpose(logits_per_text),  # [image, text]
                "logits_per_text": logits_per_text,
                "text_embeds": text_embeds,
                "image_embeds": image_embeds,
                "text_model_output": text_output,
                "vision_model_output": vision_output,
            }
        )
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()

    def logits(self, text_embeds: Tensor, image_embeds: Tensor) -> Tensor:
        """Cosine similarities of unit vectors times the scale, in float32: ``[text, image]``."""
        scale = tf.exp(tf.cast(self.logit_scale, tf.float32))
        text_embeds, image_embeds = tf.cast(text_embeds, tf.float32), tf.cast(image_embeds, tf.float32)
        return tf.matmul(text_embeds, image_embeds, transpose_b=True) * scale  # [text, image]

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Tensor:
        """The loss that `fit` minimises: without targets the contrastive one, otherwise that of `compile`."""
        if y is not None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        _, logits_per_text, *_ = y_pred  # by position: with return_dict=False it is a plain tuple
        return contrastive_loss(logits_per_text) + sum(self.losses)


def unit_length(embeds: Tensor) -> Tensor:
    """Embeddings ``[batch, embed]`` divided by their length."""
    return embeds / tf.sqrt(tf.reduce_sum(tf.square(embeds), axis=-1, keepdims=True))


def contrastive_loss(logits_per_text: Tensor) -> Tensor:
    """The mean of both cross entropies, scalar: each text finds its image and each image its text (CLIP, figure 3)."""
    texts, images = logits_per_text.shape
    with plain_errors():
        check_pair_counts(images, texts)
    pairs = tf.range(tf.shape(logits_per_text)[0])
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits
    text_loss = tf.reduce_mean(cross_entropy(pairs, logits_per_text))
    image_loss = tf.reduce_mean(cross_entropy(pairs, tf.transpose(logits_per_text)))
    return (text_loss + image_loss) / 2
