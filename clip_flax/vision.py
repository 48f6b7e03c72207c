"""The vision tower, for Flax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from clip_core.checks import check_pixel_input, check_pixel_values
from clip_core.config import CLIPVisionConfig
from clip_core.outputs import BaseModelOutputWithPooling, CLIPVisionModelOutput
from clip_flax.compilation import compiled, leaves_nothing_behind
from clip_flax.explicit_mesh import across_devices
from clip_flax.functional import params_of_call
from clip_flax.layers import (
    ENCODER_PARTS,
    Encoder,
    NoRngs,
    are_ours,
    default,
    embedding,
    host_values,
    layer_norm,
    linear,
    no_weight,
    sizes,
    tensor_input,
)
from clip_flax.patches import convolved_patches
from clip_flax.positions import resampled_positions
from clip_flax.vision_resnet import VisionResNet
from clip_flax.weights import FlaxCLIPPreTrainedModel


class VisionEmbeddings(nnx.Module):
    """Class token and linear patch embedding, plus position embedding."""

    def __init__(self, config: CLIPVisionConfig, dtype: Any) -> None:
        self.config = config
        self.precision: jax.lax.Precision | None = None
        tokens = config.patches_per_side**2 + 1
        self.class_embedding = nnx.Param(no_weight(None, (config.hidden_size,), dtype))
        self.patch_embedding = nnx.Conv(
            config.num_channels,
            config.hidden_size,
            kernel_size=(config.patch_size, config.patch_size),
            strides=(config.patch_size, config.patch_size),
            padding="VALID",
            use_bias=False,
            conv_general_dilated=convolved_patches,
            dtype=dtype,
            param_dtype=dtype,
            kernel_init=no_weight,
            rngs=NoRngs(),
        )
        self.position_embedding = embedding(tokens, config.hidden_size, dtype)

    def __call__(self, pixel_values: Array) -> Array:
        """Pixels ``[batch, channel, height, width]`` to ``[batch, token, hidden]``; the class token is first."""
        pixel_values = jnp.asarray(pixel_values, self.patch_embedding.dtype)
        pixel_values = pixel_values.transpose(0, 2, 3, 1)  # [batch, height, width, channel]
        patches = self.patch_embedding(pixel_values)  # [batch, row, column, hidden]
        batch, rows, columns, hidden = patches.shape
        patches = patches.reshape(batch, rows * columns, hidden)  # [batch, patch, hidden]
        class_token = jnp.broadcast_to(self.class_embedding[...], (batch, 1, hidden))  # [batch, 1, hidden]
        tokens = jnp.concatenate([class_token.astype(patches.dtype), patches], axis=1)  # [batch, token, hidden]
        return tokens + self.position_table(rows, columns)[None].astype(patches.dtype)

    def position_table(self, rows: int, columns: int) -> Array:
        """Position embeddings ``[token, hidden]`` of a grid of patches, resampled if it is not the trained one."""
        side = self.config.patches_per_side
        table = self.position_embedding(jnp.arange(side**2 + 1))  # [token, hidden]
        return resampled_positions(table, side, rows, columns, self.precision)


class VisionTransformer(nnx.Module):
    """Embeddings, LayerNorm, encoder, and the class token after a LayerNorm as the pooled output."""

    def __init__(self, config: CLIPVisionConfig, dtype: Any) -> None:
        self.config = config
        self.embeddings = VisionEmbeddings(config, dtype)
        self.pre_layrnorm = layer_norm(config, dtype)
        self.encoder = Encoder(config, dtype)
        self.post_layernorm = layer_norm(config, dtype)

    def __call__(
        self,
        pixel_values: Array,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        dropout_rng: Array | None = None,
        train: bool = False,
        pooled_only: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Pixels ``[batch, channel, height, width]`` to the tower's output; what trains here is ``dropout_rng``.

        With ``pooled_only``, ``last_hidden_state`` is that of the class token alone, ``[batch, 1, hidden]``.
        """
        pixel_values = tensor_input("pixel_values", pixel_values)
        check_pixel_input(sizes(pixel_values), str(pixel_values.dtype), self.config, interpolate_pos_encoding)
        check_pixel_values(host_values(pixel_values))
        tokens = compiled((VisionEmbeddings,), self.embeddings, pixel_values)
        last_hidden_state, hidden_states, attentions = compiled(
            ENCODER_PARTS,
            self.encoder,
            compiled((), self.pre_layrnorm, tokens),
            None,
            default(output_attentions, self.config.output_attentions),
            default(output_hidden_states, self.config.output_hidden_states),
            dropout_rng,
            *((1,) if pooled_only else ()),
        )
        return BaseModelOutputWithPooling.of(
            {
                "last_hidden_state": last_hidden_state,
                "pooler_output": compiled((), self.post_layernorm, last_hidden_state[:, 0]),  # [batch, hidden]
                "hidden_states": hidden_states,
                "attentions": attentions,
            }
        )

    @property
    def pre_layernorm(self) -> nnx.LayerNorm:
        """``pre_layrnorm``, which checkpoints spell like this."""
        return self.pre_layrnorm


TOWER_PARTS = (VisionTransformer, *ENCODER_PARTS)


def is_untouched(tower: nnx.Module, dropout_rng: Array | None) -> bool:
    """Whether nobody can tell that the last block computes less: its modules are ours, and nothing records."""
    if type(tower) is not VisionTransformer or type(tower.encoder) is not Encoder:
        return False
    last = tower.encoder.layers[-1]
    if not are_ours([last]) or not leaves_nothing_behind(TOWER_PARTS, last):
        return False
    return dropout_rng is None or not last.self_attn.dropout.rate  # for each query; the same key, the same numbers


def vision_tower(config: CLIPVisionConfig, dtype: Any) -> VisionTransformer | VisionResNet:
    """The tower that a configuration describes."""
    return VisionResNet(config, dtype) if config.is_resnet else VisionTransformer(config, dtype)


class FlaxCLIPVisionPreTrainedModel(FlaxCLIPPreTrainedModel):
    """Base of the models of the vision tower."""

    config_class = CLIPVisionConfig


class FlaxCLIPVisionModel(FlaxCLIPVisionPreTrainedModel):
    """The vision tower."""

    architecture = "CLIPVisionModel"

    def make_layers(self, config: CLIPVisionConfig, dtype: Any) -> None:
        self.vision_model = vision_tower(config, dtype)

    @across_devices
    def __call__(
        self,
        pixel_values: Array,
        params: dict[str, Any] | None = None,
        dropout_rng: Array | None = None,
        train: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        interpolate_pos_encoding: bool = False,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encodes images.

        Args:
            pixel_values: ``[batch, channel, height, width]`` floating-point numbers, normalised as the image
                processor does.
            params: weights to use instead of the model's own, in the layout of `params`.
            dropout_rng: key of the dropout, where ``attention_dropout`` is above 0.
            train: drop attention; also if ``model.train()`` was called.
            output_attentions, output_hidden_states, return_dict: as the configuration says unless given.
            interpolate_pos_encoding: resample the position embeddings, so that images of other sizes fit.

        Returns:
            `BaseModelOutputWithPooling`, or a tuple of its fields with ``return_dict=False``.

        Raises:
            InputError, InputTypeError: a shape or dtype that the tower cannot take; training with dropout but without
                its key.
            WeightMismatchError: ``params`` are not those of the configuration.
        """
        model = self.with_params(params_of_call(self, params, train))
        dropout_rng = self.dropout_key(train, dropout_rng)
        output = model.vision_model(
            pixel_values,
            output_attentions,
            output_hidden_states,
            interpolate_pos_encoding,
            dropout_rng,
            train,
        )
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()


class FlaxCLIPVisionModelWithProjection(FlaxCLIPVisionPreTrainedModel):
    """The vision tower and its projection to the space shared with texts."""

    architecture = "CLIPVisionModelWithProjection"
    has_projection = True

    def make_layers(self, config: CLIPVisionConfig, dtype: Any) -> None:
        self.vision_model = vision_tower(config, dtype)
        self.visual_projection = linear(config.hidden_size, config.projection_dim, dtype, bias=config.is_resnet)

    @across_devices
    def __call__(
        self,
        pixel_values: Array,
        params: dict[str, Any] | None = None,
        dropout_rng: Array | None = None,
        train: bool = False,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        interpolate_pos_encoding: bool = False,
    ) -> CLIPVisionModelOutput | tuple[Any, ...]:
        """Encodes and projects images; arguments and errors as of `FlaxCLIPVisionModel.__call__`.

        Returns:
            `CLIPVisionModelOutput`, whose ``image_embeds`` ``[batch, embed]`` is not normalised, or a tuple.
        """
        model = self.with_params(params_of_call(self, params, train))
        dropout_rng = self.dropout_key(train, dropout_rng)
        output = model.vision_model(
            pixel_values,
            output_attentions,
            output_hidden_states,
            interpolate_pos_encoding,
            dropout_rng,
            train,
        )
        embeds = model.visual_projection(output.pooler_output)  # [batch, embed]
        projected = CLIPVisionModelOutput.from_tower(embeds, output)
        return projected if default(return_dict, self.config.return_dict) else projected.to_tuple()
