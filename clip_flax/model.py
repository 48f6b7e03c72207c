"""The CLIP model: both towers, their projections, logits and loss, for Flax.

Source of the architecture: Radford et al. 2021, section 2.4; of names and semantics: transformers 4.57.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array, export
from jax.extend.core import unsafe_get_axis_names_DO_NOT_USE as mapped_axis_names  # nothing safer sees vmap's axes

from clip_core.checks import check_pair_counts
from clip_core.config import CLIPConfig
from clip_core.errors import InputError
from clip_core.outputs import CLIPOutput, all_output_types
from clip_flax.explicit_mesh import across_devices
from clip_flax.functional import params_of_call
from clip_flax.layers import default, linear, no_weight, wide
from clip_flax.text import TextTransformer, without_padding
from clip_flax.vision import is_untouched, vision_tower
from clip_flax.weights import FlaxCLIPPreTrainedModel

AxisName: TypeAlias = str | tuple[str, ...]
"""One mapped axis or several, as collectives of `jax.lax` take them."""

for _output in all_output_types():  # so that jax.export can serialize programs that return them
    export.register_namedtuple_serialization(_output, serialized_name=f"clip_core.outputs.{_output.__name__}")


class FlaxCLIPModel(FlaxCLIPPreTrainedModel):
    """Both towers, their projections and the logit scale."""

    config_class = CLIPConfig
    architecture = "CLIPModel"
    has_projection = True

    def make_layers(self, config: CLIPConfig, dtype: Any) -> None:
        self.text_model = TextTransformer(config.text_config, dtype)
        self.vision_model = vision_tower(config.vision_config, dtype)
        vision = config.vision_config
        self.visual_projection = linear(vision.hidden_size, config.projection_dim, dtype, bias=vision.is_resnet)
        self.text_projection = linear(config.text_config.hidden_size, config.projection_dim, dtype, bias=False)
        self.logit_scale = nnx.Param(no_weight(None, (), dtype))

    @across_devices
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
        inputs = without_padding(model.text_model, input_ids, attention_mask, position_ids, dropout_rng)
        output = model.text_model(*inputs, False, False, dropout_rng)
        return model.text_projection(output.pooler_output)  # [batch, embed]

    @across_devices
    def get_image_features(
        self,
        pixel_values: Array,
        params: dict[str, Any] | None = None,
        dropout_rng: Array | None = None,
        train: bool = False,
        interpolate_pos_encoding: bool = False,
    ) -> Array:
        """Projected image embeddings ``[batch, embed]``, not normalised; arguments as of `FlaxCLIPVisionModel`."""
        model = self.with_params(params_of_call(self, params, train))
        dropout_rng = self.dropout_key(train, dropout_rng)
        # a tower of others knows no such word
        unread = {"pooled_only": True} if is_untouched(model.vision_model, dropout_rng) else {}
        output = model.vision_model(pixel_values, False, False, interpolate_pos_encoding, dropout_rng, train, **unread)
        return model.visual_projection(output.pooler_output)  # [batch, embed]

    @across_devices
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
        axis_name: AxisName | None = None,
    ) -> CLIPOutput | tuple[Any, ...]:
        """Compares every image with every text; arguments as of the towers.

        Args:
            return_loss: also the symmetric contrastive loss; the i-th image belongs to the i-th text.
            axis_name: inside `jax.shard_map`, `jax.pmap` or a `jax.vmap` with a named axis: the axis, or axes, over
                which the pairs are split. The loss is then that of all pairs, the same on every device; logits remain
                those of the device's own pairs. See `contrastive_loss`.

        Returns:
            `CLIPOutput`, or a tuple of its fields with ``return_dict=False``. Logits and loss are float32, or float64
            with weights of float64.

        Raises:
            InputError, InputTypeError: as the towers; or ``return_loss`` with unequal numbers of images and texts, or
                inside a mapped axis without ``axis_name``.
            WeightMismatchError: ``params`` are not those of the configuration.
        """
        output_attentions = default(output_attentions, self.config.output_attentions)
        output_hidden_states = default(output_hidden_states, self.config.output_hidden_states)
        model = self.with_params(params_of_call(self, params, train))
        dropout_rng = self.dropout_key(train, dropout_rng)
        text_rng, vision_rng = (None, None) if dropout_rng is None else jax.random.split(dropout_rng)
        text_output = model.text_model(
            input_ids, attention_mask, position_ids, output_attentions, output_hidden_states, text_rng
        )
        vision_output = model.vision_model(
            pixel_values,
            output_attentions,
            output_hidden_states,
            interpolate_pos_encoding,
            vision_rng,
            train,
        )
        text_embeds = unit_length(model.text_projection(text_output.pooler_output))  # [text, embed]
        image_embeds = unit_length(model.visual_projection(vision_output.pooler_output))  # [image, embed]
        logits_per_text = model.logits(text_embeds, image_embeds)  # [text, image]
        loss_logits = logits_per_text
        if axis_name:
            all_images = jax.lax.all_gather(image_embeds, axis_name, tiled=True)  # [image of all devices, embed]
            loss_logits = model.logits(text_embeds, all_images)  # [text, image of all devices]
        output = CLIPOutput.of(
            {
                "loss": contrastive_loss(loss_logits, axis_name) if return_loss else None,
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
        """Cosine similarities of unit vectors times the scale, in float32 or wider: ``[text, image]``."""
        cosines = jnp.matmul(wide(text_embeds), wide(image_embeds).T, precision=self.precision)  # [text, image]
        return cosines * jnp.exp(wide(self.logit_scale[...]))


def unit_length(embeds: Array) -> Array:
    """Embeddings ``[batch, embed]`` divided by their length."""
    return embeds / jnp.sqrt(jnp.square(embeds).sum(axis=-1, keepdims=True))


def contrastive_loss(logits_per_text: Array, axis_name: AxisName | None = None) -> Array:
    """The mean of both cross entropies, scalar: each text finds its image and each image its text (CLIP, figure 3).

    Over pairs that are split over the devices of a mapped axis, as many on each, it is exact, the same on every device,
    and needs only the image embeddings to be gathered::

        images = jax.lax.all_gather(output.image_embeds, "data", tiled=True)
        loss = contrastive_loss(model.logits(output.text_embeds, images), "data")

    A gradient taken outside of the mapped function is that of one device with all pairs; so is the mean over the axis,
    `jax.lax.pmean`, of gradients taken inside.

    Args:
        logits_per_text: ``[text, image]``; the i-th image belongs to the i-th text. With an axis, those of this
            device's texts and of all devices' images, in the order of the devices.
        axis_name: the mapped axis, or axes, over which the pairs are split; ``()`` for the loss of these pairs alone.

    Raises:
        InputError: other numbers of images than of texts; or a mapped axis, but no ``axis_name``.
    """
    axis_name = checked_axis_name(axis_name)
    texts, images = logits_per_text.shape
    check_pair_counts(images, texts * jax.lax.axis_size(axis_name))
    first_pair = jax.lax.axis_index(axis_name) * texts
    total = 0
    for log_probabilities in (log_softmax(logits_per_text, 1, ()), log_softmax(logits_per_text, 0, axis_name)):
        own = jax.lax.dynamic_slice_in_dim(log_probabilities, first_pair, texts, axis=1)  # [text, its image]
        total -= jax.lax.pmean(jnp.diagonal(own).mean(), axis_name)
    return total / 2


def checked_axis_name(axis_name: AxisName | None) -> AxisName:
    """The mapped axes of a loss; none where nothing is mapped.

    Raises:
        InputError: there are some, but not named.
    """
    mapped = mapped_axis_names()
    if axis_name is None and mapped:
        raise InputError(
            f"axis_name: expected the mapped axis over which the pairs are split, of {mapped}, got None. The loss "
            f"would be that of one device's pairs. Pass axis_name={mapped[0]!r}, or axis_name=() if it is to be that."
        )
    return () if axis_name is None else axis_name


def log_softmax(logits: Array, axis: int, axis_name: AxisName) -> Array:
    """Logarithm of the softmax over an axis that is split over mapped axes, too."""
    largest = jax.lax.stop_gradient(logits.max(axis, keepdims=True))
    if axis_name:
        largest = jax.lax.pmax(largest, axis_name)
    shifted = logits - largest
    return shifted - jnp.log(jax.lax.psum(jnp.exp(shifted).sum(axis, keepdims=True), axis_name))
