"""The vision tower, for Keras."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from clip_core.checks import check_pixel_input, check_pixel_values
from clip_core.config import CLIPVisionConfig
from clip_core.outputs import BaseModelOutputWithPooling, CLIPVisionModelOutput
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
    is_watched,
    layer_norm,
    linear,
    plain_errors,
    sizes,
    tensor_input,
)
from clip_tf.positions import resampled_positions
from clip_tf.vision_resnet import VisionResNet
from clip_tf.weights import TFCLIPPreTrainedModel


class VisionEmbeddings(keras.layers.Layer):
    """Class token and linear patch embedding, plus position embedding."""

    def __init__(self, config: CLIPVisionConfig, *, name: str) -> None:
        super().__init__(name=name)
        self.config = config
        tokens = config.patches_per_side**2 + 1
        with keras.name_scope(name, caller=self):
            self.class_embedding = self.add_weight((config.hidden_size,), initializer="zeros", name="class_embedding")
            self.patch_embedding = keras.layers.Conv2D(
                config.hidden_size,
                config.patch_size,
                strides=config.patch_size,
                padding="valid",
                data_format="channels_last",
                use_bias=False,
                kernel_initializer="zeros",
                name="patch_embedding",
            )
            self.patch_embedding.build((None, None, None, config.num_channels))
            self.position_embedding = embedding(tokens, config.hidden_size, name="position_embedding")

    def call(self, pixel_values: Tensor) -> Tensor:
        """Pixels ``[batch, channel, height, width]`` to ``[batch, token, hidden]``; the class token is first."""
        pixel_values = ops.transpose(pixel_values, (0, 2, 3, 1))  # [batch, height, width, channel]: what CPUs convolve
        patches = self.patch_embedding(pixel_values)  # [batch, row, column, hidden]
        rows, columns = sizes(patches)[1:3]
        batch, hidden = ops.shape(pixel_values)[0], self.config.hidden_size
        patches = ops.reshape(patches, (batch, -1, hidden))  # [batch, patch, hidden]
        class_token = ops.broadcast_to(self.class_embedding, (batch, 1, hidden))  # [batch, 1, hidden]
        tokens = ops.concatenate([ops.cast(class_token, patches.dtype), patches], axis=1)  # [batch, token, hidden]
        return tokens + self.position_table(rows, columns)

    def position_table(self, rows: int | None, columns: int | None) -> Tensor:
        """Position embeddings ``[token, hidden]`` of a grid of patches, resampled if it is not the trained one."""
        side = self.config.patches_per_side
        positions = ops.arange(side**2 + 1, dtype="int32")
        return resampled_positions(self.position_embedding(positions), side, rows, columns)


class VisionTransformer(keras.layers.Layer):
    """Embeddings, LayerNorm, encoder, and the class token after a LayerNorm as the pooled output."""

    def __init__(self, config: CLIPVisionConfig, *, name: str) -> None:
        super().__init__(name=name)
        self.config = config
        with keras.name_scope(name, caller=self):
            self.embeddings = VisionEmbeddings(config, name="embeddings")
            self.pre_layrnorm = layer_norm(config, name="pre_layrnorm")
            self.encoder = Encoder(config, name="encoder")
            self.post_layernorm = layer_norm(config, name="post_layernorm")

    def call(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        pooled_only: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Pixels ``[batch, channel, height, width]`` to the tower's output.

        With ``pooled_only``, ``last_hidden_state`` is that of the class token alone, ``[batch, 1, hidden]``.
        """
        pixel_values = tensor_input("pixel_values", pixel_values)
        with plain_errors():
            check_pixel_input(sizes(pixel_values), dtype_name(pixel_values), self.config, interpolate_pos_encoding)
            check_pixel_values(host_values(pixel_values))
        if not interpolate_pos_encoding:  # sizes that a graph left open are checked when it runs
            size = self.config.image_size
            pixel_values = framework.with_sizes(pixel_values, (None, self.config.num_channels, size, size))
        last_hidden_state, hidden_states, attentions = self.encoder(
            self.pre_layrnorm(self.embeddings(pixel_values)),
            None,
            output_attentions=default(output_attentions, self.config.output_attentions),
            output_hidden_states=default(output_hidden_states, self.config.output_hidden_states),
            **({"queries": 1} if pooled_only else {}),
        )
        return BaseModelOutputWithPooling.of(
            {
                "last_hidden_state": last_hidden_state,
                "pooler_output": self.post_layernorm(last_hidden_state[:, 0]),  # [batch, hidden]
                "hidden_states": hidden_states,
                "attentions": attentions,
            }
        )

    @property
    def pre_layernorm(self) -> keras.layers.LayerNormalization:
        """``pre_layrnorm``, which checkpoints spell like this."""
        return self.pre_layrnorm


def is_untouched(tower: keras.layers.Layer, training: bool) -> bool:
    """Whether nobody can tell that the last block computes less: its layers are ours, and nothing looks on."""
    if type(tower) is not VisionTransformer or type(tower.encoder) is not Encoder:
        return False
    last = tower.encoder.layers[-1]
    at_random = training is not False and tower.config.attention_dropout  # the same seed drops the same of all tokens
    return not at_random and are_ours([last]) and not is_watched((tower, tower.encoder, *last._flatten_layers()))


def vision_tower(config: CLIPVisionConfig, *, name: str) -> VisionTransformer | VisionResNet:
    """The tower that a configuration describes."""
    return VisionResNet(config, name=name) if config.is_resnet else VisionTransformer(config, name=name)


@keras.saving.register_keras_serializable(package="triclip")
class TFCLIPVisionModel(TFCLIPPreTrainedModel):
    """The vision tower."""

    config_class = CLIPVisionConfig
    architecture = "CLIPVisionModel"

    def make_layers(self, config: CLIPVisionConfig) -> None:
        self.vision_model = vision_tower(config, name="vision_model")

    @unpacked
    def call(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        training: bool = False,
        interpolate_pos_encoding: bool = False,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encodes images.

        Args:
            pixel_values: ``[batch, channel, height, width]`` floating-point numbers, normalised as the image
                processor does.
            interpolate_pos_encoding: resample the position embeddings, so that images of other sizes fit.
            output_attentions, output_hidden_states, return_dict: as the configuration says unless given.
            training: whether attention is dropped out and gradient checkpointing has an effect; a ResNet then
                normalises with the statistics of the batch, and keeps a tenth of them.

        Returns:
            `BaseModelOutputWithPooling`, or a tuple of its fields with ``return_dict=False``.

        Raises:
            InputError, InputTypeError: a shape or dtype that the tower cannot take.
        """
        output = self.vision_model(
            pixel_values=pixel_values,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            interpolate_pos_encoding=interpolate_pos_encoding,
            training=training,
        )
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()


@keras.saving.register_keras_serializable(package="triclip")
class TFCLIPVisionModelWithProjection(TFCLIPPreTrainedModel):
    """The vision tower and its projection to the space shared with texts."""

    config_class = CLIPVisionConfig
    architecture = "CLIPVisionModelWithProjection"
    has_projection = True

    def make_layers(self, config: CLIPVisionConfig) -> None:
        self.vision_model = vision_tower(config, name="vision_model")
        bias, embed = config.is_resnet, config.projection_dim
        self.visual_projection = linear(config.hidden_size, embed, bias=bias, name="visual_projection")

    @unpacked
    def call(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        training: bool = False,
        interpolate_pos_encoding: bool = False,
    ) -> CLIPVisionModelOutput | tuple[Any, ...]:
        """Encodes and projects images; arguments and errors as of `TFCLIPVisionModel.call`.

        Returns:
            `CLIPVisionModelOutput`, whose ``image_embeds`` ``[batch, embed]`` is not normalised, or a tuple.
        """
        output = self.vision_model(
            pixel_values=pixel_values,
            output_attentions=output_attentions,
            output_hidden_states=output_hidden_states,
            interpolate_pos_encoding=interpolate_pos_encoding,
            training=training,
        )
        embeds = self.visual_projection(output.pooler_output)  # [batch, embed]
        projected = CLIPVisionModelOutput.from_tower(embeds, output)
        return projected if default(return_dict, self.config.return_dict) else projected.to_tuple()
