"""The vision tower, for PyTorch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from clip_core.checks import check_pixel_input, check_pixel_values
from clip_core.config import CLIPVisionConfig
from clip_core.outputs import BaseModelOutputWithPooling, CLIPVisionModelOutput
from clip_torch.layers import (
    Encoder,
    are_ours,
    default,
    host_values,
    is_watched,
    layer_norm,
    linear,
    refuse_meta,
    tensor_input,
)
from clip_torch.positions import resampled_positions
from clip_torch.vision_resnet import VisionResNet
from clip_torch.weights import CLIPPreTrainedModel


class VisionEmbeddings(nn.Module):
    """Class token and linear patch embedding, plus position embedding."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_dim, self.image_size, self.patch_size = config.hidden_size, config.image_size, config.patch_size
        self.num_patches = config.patches_per_side**2
        self.num_positions = tokens = self.num_patches + 1
        self.class_embedding = nn.Parameter(torch.empty(config.hidden_size))
        self.patch_embedding = nn.Conv2d(
            config.num_channels, config.hidden_size, config.patch_size, stride=config.patch_size, padding=0, bias=False
        )
        self.position_embedding = nn.Embedding(tokens, config.hidden_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Pixels ``[batch, channel, height, width]`` to ``[batch, token, hidden]``; the class token is first."""
        pixel_values = pixel_values.to(self.patch_embedding.weight.dtype)
        patches = self.patch_embedding(pixel_values)  # [batch, hidden, row, column]
        rows, columns = patches.shape[2], patches.shape[3]
        patches = patches.flatten(2).transpose(1, 2)  # [batch, patch, hidden]
        class_token = self.class_embedding.expand(patches.shape[0], 1, -1)  # [batch, 1, hidden]
        tokens = torch.cat([class_token.to(patches.dtype), patches], dim=1)  # [batch, token, hidden]
        return tokens + self.position_table(rows, columns)

    def position_table(self, rows: int, columns: int) -> Tensor:
        """Position embeddings ``[token, hidden]`` of a grid of patches, resampled if it is not the trained one."""
        side = self.config.patches_per_side
        positions = torch.arange(side**2 + 1, device=self.class_embedding.device)
        return resampled_positions(self.position_embedding(positions), side, rows, columns)


class VisionTransformer(nn.Module):
    """Embeddings, LayerNorm, encoder, and the class token after a LayerNorm as the pooled output."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = VisionEmbeddings(config)
        self.pre_layrnorm = layer_norm(config)
        self.encoder = Encoder(config)
        self.post_layernorm = layer_norm(config)

    def forward(
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
        refuse_meta("pixel_values", pixel_values, self.post_layernorm.weight)
        check_pixel_input(tuple(pixel_values.shape), str(pixel_values.dtype), self.config, interpolate_pos_encoding)
        check_pixel_values(host_values(pixel_values))
        last_hidden_state, hidden_states, attentions = self.encoder(
            self.pre_layrnorm(self.embeddings(pixel_values)),
            None,
            default(output_attentions, self.config.output_attentions),
            default(output_hidden_states, self.config.output_hidden_states),
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
    def pre_layernorm(self) -> nn.LayerNorm:
        """``pre_layrnorm``, which checkpoints spell like this."""
        return self.pre_layrnorm


def is_untouched(tower: nn.Module) -> bool:
    """Whether nobody can tell that the last block computes less: its modules are ours, and no hook looks on."""
    if type(tower) is not VisionTransformer or type(tower.encoder) is not Encoder:
        return False
    last = tower.encoder.layers[-1]
    at_random = tower.training and tower.config.attention_dropout  # for each query; the same seed, the same numbers
    return not at_random and are_ours([last]) and not is_watched((tower, tower.encoder, *last.modules()))


def vision_tower(config: CLIPVisionConfig) -> VisionTransformer | VisionResNet:
    """The tower that a configuration describes."""
    return VisionResNet(config) if config.is_resnet else VisionTransformer(config)


class CLIPVisionModel(CLIPPreTrainedModel):
    """The vision tower."""

    config_class = CLIPVisionConfig
    architecture = "CLIPVisionModel"

    def make_layers(self, config: CLIPVisionConfig) -> None:
        self.vision_model = vision_tower(config)

    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> BaseModelOutputWithPooling | tuple[Any, ...]:
        """Encodes images.

        Args:
            pixel_values: ``[batch, channel, height, width]`` floating-point numbers, normalised as the image
                processor does.
            interpolate_pos_encoding: resample the position embeddings, so that images of other sizes fit.
            output_attentions, output_hidden_states, return_dict: as the configuration says unless given.

        Returns:
            `BaseModelOutputWithPooling`, or a tuple of its fields with ``return_dict=False``.

        Raises:
            InputError, InputTypeError: a shape or dtype that the tower cannot take.
        """
        output = self.vision_model(pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding)
        return output if default(return_dict, self.config.return_dict) else output.to_tuple()


class CLIPVisionModelWithProjection(CLIPPreTrainedModel):
    """The vision tower and its projection to the space shared with texts."""

    config_class = CLIPVisionConfig
    architecture = "CLIPVisionModelWithProjection"
    has_projection = True

    def make_layers(self, config: CLIPVisionConfig) -> None:
        self.vision_model = vision_tower(config)
        self.visual_projection = linear(config.hidden_size, config.projection_dim, bias=config.is_resnet)

    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        return_dict: bool | None = None,
    ) -> CLIPVisionModelOutput | tuple[Any, ...]:
        """Encodes and projects images; arguments and errors as of `CLIPVisionModel.forward`.

        Returns:
            `CLIPVisionModelOutput`, whose ``image_embeds`` ``[batch, embed]`` is not normalised, or a tuple.
        """
        output = self.vision_model(pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding)
        embeds = self.visual_projection(output.pooler_output)  # [batch, embed]
        projected = CLIPVisionModelOutput.from_tower(embeds, output)
        return projected if default(return_dict, self.config.return_dict) else projected.to_tuple()
