"""CLIP's modified ResNet as vision tower, for PyTorch (Radford et al. 2021, section 2.4; decision 27).

Modules have OpenAI's names. Images inside are ``[batch, channel, row, column]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from clip_core.checks import check_batch_statistics, check_pixel_input, check_pixel_values
from clip_core.config import CLIPVisionConfig
from clip_core.outputs import BaseModelOutputWithPooling
from clip_core.resnet import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, STAGES, Block, stage_blocks, stem_channels
from clip_torch.layers import default, host_values, linear, refuse_meta, tensor_input, wide
from clip_torch.positions import resampled_positions


def convolution(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias, with zeros around the image: as many on every side as the kernel reaches over."""
    return nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False)


def average_pool(x: Tensor) -> Tensor:
    """The means of two by two pixels; a last row or column without a partner is not seen."""
    return F.avg_pool2d(x, 2)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation, in float32 or wider whatever the dtypes of input, weights and statistics."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channel, row, column]`` to the same shape; in training, the batch enters the statistics."""
        kept = [self.get_buffer(name) for name in ("running_mean", "running_var")]
        if self.training:
            check_batch_statistics(x.numel() // x.shape[1])
            self.get_buffer("num_batches_tracked").add_(1)
        mean, variance = statistics = [wide(value) for value in kept]
        momentum = BATCH_NORM_MOMENTUM if self.momentum is None else self.momentum
        scale, bias = wide(self.weight), wide(self.bias)
        y = F.batch_norm(wide(x), mean, variance, scale, bias, self.training, momentum, self.eps)
        for value, new in zip(kept, statistics, strict=True):
            if self.training and new is not value:  # a copy of statistics in half precision
                value.copy_(new)
        return y.to(x.dtype)


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut; where the image is to get smaller, both are pooled before they convolve."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.stride = block.stride
        self.conv1 = convolution(block.in_channels, block.channels, 1)
        self.bn1 = BatchNorm(block.channels)
        self.conv2 = convolution(block.channels, block.channels, 3)
        self.bn2 = BatchNorm(block.channels)
        self.conv3 = convolution(block.channels, block.out_channels, 1)
        self.bn3 = BatchNorm(block.out_channels)
        self.downsample = nn.Sequential()
        if block.has_shortcut:
            self.downsample.append(convolution(block.in_channels, block.out_channels, 1))
            self.downsample.append(BatchNorm(block.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, channel, row, column]`` to the block's channels, rows and columns divided by its stride."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.pooled(F.relu(self.bn2(self.conv2(y))))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (self.downsample(self.pooled(x)) if len(self.downsample) else x))

    def pooled(self, x: Tensor) -> Tensor:
        """What gets smaller by the block's stride."""
        return average_pool(x) if self.stride > 1 else x


class AttentionPooling(nn.Module):
    """Attention in which the mean of all tokens asks; its output layer is the model's ``visual_projection``."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        self.config = config
        self.fused_attention = True
        tokens = config.patches_per_side**2 + 1
        self.positional_embedding = nn.Parameter(torch.empty(tokens, config.hidden_size))
        self.q_proj = linear(config.hidden_size, config.hidden_size)
        self.k_proj = linear(config.hidden_size, config.hidden_size)
        self.v_proj = linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """``[batch, hidden, row, column]`` to ``[batch, hidden]``, and the attention ``[batch, head, 1, token]``."""
        patches = x.flatten(2).transpose(1, 2)  # [batch, patch, hidden]
        tokens = torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)  # [batch, token, hidden]
        side, rows, columns = self.config.patches_per_side, x.shape[2], x.shape[3]
        tokens = tokens + resampled_positions(self.positional_embedding, side, rows, columns)
        query = self.split_heads(self.q_proj(tokens[:, :1]))
        key, value = self.split_heads(self.k_proj(tokens)), self.split_heads(self.v_proj(tokens))
        weights = None
        if output_attentions or not self.fused_attention:
            scores = wide((query * self.config.head_dim**-0.5) @ key.transpose(2, 3))  # [batch, head, 1, token]
            weights = torch.softmax(scores, dim=-1).to(query.dtype)
            pooled = weights @ value  # [batch, head, 1, head_dim]
        else:
            pooled = F.scaled_dot_product_attention(query, key, value)
        return pooled.flatten(1), weights if output_attentions else None

    def split_heads(self, x: Tensor) -> Tensor:
        """From ``[batch, token, hidden]`` to ``[batch, head, token, head_dim]``."""
        heads = x.reshape(*x.shape[:2], self.config.num_attention_heads, self.config.head_dim)
        return heads.transpose(1, 2)


class VisionResNet(nn.Module):
    """A stem of three convolutions, four stages of bottlenecks, and attention that pools."""

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        assert config.stage_depths is not None
        self.config = config
        self.gradient_checkpointing = False
        first, second, third = stem_channels(config.hidden_size)
        self.conv1 = convolution(config.num_channels, first, 3, stride=2)
        self.bn1 = BatchNorm(first)
        self.conv2 = convolution(first, second, 3)
        self.bn2 = BatchNorm(second)
        self.conv3 = convolution(second, third, 3)
        self.bn3 = BatchNorm(third)
        stages = stage_blocks(config.stage_depths, config.hidden_size)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(*(Bottleneck(block) for block in blocks)) for blocks in stages
        )
        self.attnpool = AttentionPooling(config)

    def forward(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Pixels ``[batch, channel, height, width]`` to the tower's output."""
        pixel_values = tensor_input("pixel_values", pixel_values)
        refuse_meta("pixel_values", pixel_values, self.conv1.weight)
        check_pixel_input(tuple(pixel_values.shape), str(pixel_values.dtype), self.config, interpolate_pos_encoding)
        check_pixel_values(host_values(pixel_values))
        hidden_states = [self.stem(pixel_values.to(self.conv1.weight.dtype))]
        for number in range(1, STAGES + 1):
            hidden_states.append(self.stage(number, hidden_states[-1]))
        last = hidden_states[-1]  # [batch, hidden, row, column]
        pooled, weights = self.attnpool(last, default(output_attentions, self.config.output_attentions))
        wanted = default(output_hidden_states, self.config.output_hidden_states)
        return BaseModelOutputWithPooling.of(
            {
                "last_hidden_state": last.flatten(2).transpose(1, 2),  # [batch, token, hidden]
                "pooler_output": pooled,
                "hidden_states": tuple(hidden_states) if wanted else None,
                "attentions": None if weights is None else (weights,),
            }
        )

    def stem(self, x: Tensor) -> Tensor:
        """Pixels ``[batch, channel, height, width]`` to ``[batch, channel, row, column]``, a fourth of their size."""
        for convolve, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = F.relu(norm(convolve(x)))
        return average_pool(x)

    def stage(self, number: int, x: Tensor) -> Tensor:
        """The blocks of a stage, counted from 1; one that is recomputed for its gradient counts the batch once."""
        for block in (self.layer1, self.layer2, self.layer3, self.layer4)[number - 1]:
            if self.gradient_checkpointing and self.training:
                if torch.compiler.is_compiling():  # which recomputes no changes of statistics, and takes no contexts
                    x = checkpoint(block, x, use_reentrant=False)
                else:
                    x = checkpoint(block, x, use_reentrant=False, context_fn=partial(recomputed, block))
            else:
                x = block(x)
        return x


def recomputed(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """What a block computes in: at first, and when it is recomputed."""
    return nullcontext(), untracked(block)


@contextmanager
def untracked(block: nn.Module) -> Iterator[None]:
    """Lets batch normalisation of any class count in copies of its statistics, which are forgotten."""
    norms = [part for part in block.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({name: value.clone() for name, value in norm.named_buffers(recurse=False)})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)
