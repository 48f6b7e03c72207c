"""CLIP's modified ResNet as vision tower, for Flax (Radford et al. 2021, section 2.4; decisions 27 and 28).

Modules have OpenAI's names. Images inside are ``[batch, row, column, channel]``.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from clip_core.checks import check_batch_statistics, check_pixel_input, check_pixel_values
from clip_core.config import CLIPVisionConfig
from clip_core.outputs import BaseModelOutputWithPooling
from clip_core.resnet import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, STAGES, Block, stage_blocks, stem_channels
from clip_flax.layers import NoRngs, default, host_values, linear, no_weight, sizes, tensor_input, wide
from clip_flax.positions import resampled_positions


def convolution(in_channels: int, out_channels: int, size: int, dtype: Any, stride: int = 1) -> nnx.Conv:
    """A convolution without bias, with zeros around the image: as many on every side as the kernel reaches over."""
    return nnx.Conv(
        in_channels,
        out_channels,
        kernel_size=(size, size),
        strides=(stride, stride),
        padding=((size // 2, size // 2),) * 2,
        use_bias=False,
        dtype=dtype,
        param_dtype=dtype,
        kernel_init=no_weight,
        rngs=NoRngs(),
    )


def average_pool(x: Array) -> Array:
    """The means of two by two pixels; a last row or column without a partner is not seen."""
    return nnx.avg_pool(wide(x), (2, 2), strides=(2, 2)).astype(x.dtype)


class BatchNorm(nnx.Module):
    """Batch normalisation, in float32 or wider whatever the dtypes of input, weights and statistics."""

    def __init__(self, channels: int, dtype: Any) -> None:
        self.use_running_average = True  # the name that nnx.Module.train and eval look for
        self.scale = nnx.Param(no_weight(None, (channels,), dtype))
        self.bias = nnx.Param(no_weight(None, (channels,), dtype))
        self.mean = nnx.BatchStat(no_weight(None, (channels,), dtype))
        self.var = nnx.BatchStat(no_weight(None, (channels,), dtype))
        self.num_batches_tracked = nnx.BatchStat(no_weight(None, (), dtype))

    def __call__(self, x: Array, train: bool = False) -> Array:
        """``[batch, row, column, channel]`` to the same shape; in training, the batch enters the statistics."""
        y = wide(x)
        if train or not self.use_running_average:
            mean = y.mean((0, 1, 2))
            variance = jnp.square(y - mean).mean((0, 1, 2))
            self.track(mean, variance, x.size // x.shape[-1])
        else:
            mean, variance = (jax.lax.stop_gradient(wide(kept[...])) for kept in (self.mean, self.var))
        y = (y - mean) * jax.lax.rsqrt(variance + BATCH_NORM_EPS)
        return (y * wide(self.scale[...]) + wide(self.bias[...])).astype(x.dtype)

    def track(self, mean: Array, variance: Array, count: int) -> None:
        """Takes the statistics of a batch of so many values per channel into those that are kept."""
        check_batch_statistics(count)
        unbiased = variance * (count / (count - 1))
        for kept, new in ((self.mean, mean), (self.var, unbiased)):
            old, new = wide(kept[...]), jax.lax.stop_gradient(new)
            kept[...] = (old + BATCH_NORM_MOMENTUM * (new - old)).astype(kept.dtype)
        self.num_batches_tracked[...] = self.num_batches_tracked[...] + 1


class Bottleneck(nnx.Module):
    """Three convolutions beside a shortcut; where the image is to get smaller, both are pooled before they convolve."""

    def __init__(self, block: Block, dtype: Any) -> None:
        self.stride = block.stride
        self.conv1 = convolution(block.in_channels, block.channels, 1, dtype)
        self.bn1 = BatchNorm(block.channels, dtype)
        self.conv2 = convolution(block.channels, block.channels, 3, dtype)
        self.bn2 = BatchNorm(block.channels, dtype)
        self.conv3 = convolution(block.channels, block.out_channels, 1, dtype)
        self.bn3 = BatchNorm(block.out_channels, dtype)
        self.downsample = nnx.List([])
        if block.has_shortcut:
            self.downsample.append(convolution(block.in_channels, block.out_channels, 1, dtype))
            self.downsample.append(BatchNorm(block.out_channels, dtype))

    def __call__(self, x: Array, train: bool = False) -> Array:
        """``[batch, row, column, channel]`` to the block's channels, rows and columns divided by its stride."""
        y = jax.nn.relu(self.bn1(self.conv1(x), train))
        y = self.pooled(jax.nn.relu(self.bn2(self.conv2(y), train)))
        y = self.bn3(self.conv3(y), train)
        if self.downsample:
            convolve, norm = self.downsample
            x = norm(convolve(self.pooled(x)), train)
        return jax.nn.relu(y + x)

    def pooled(self, x: Array) -> Array:
        """What gets smaller by the block's stride."""
        return average_pool(x) if self.stride > 1 else x


class AttentionPooling(nnx.Module):
    """Attention in which the mean of all tokens asks; its output layer is the model's ``visual_projection``."""

    def __init__(self, config: CLIPVisionConfig, dtype: Any) -> None:
        self.config = config
        self.precision: jax.lax.Precision | None = None
        tokens = config.patches_per_side**2 + 1
        self.positional_embedding = nnx.Param(no_weight(None, (tokens, config.hidden_size), dtype))
        self.q_proj = linear(config.hidden_size, config.hidden_size, dtype)
        self.k_proj = linear(config.hidden_size, config.hidden_size, dtype)
        self.v_proj = linear(config.hidden_size, config.hidden_size, dtype)

    def __call__(self, x: Array, output_attentions: bool = False) -> tuple[Array, Array | None]:
        """``[batch, row, column, hidden]`` to ``[batch, hidden]``, and the attention ``[batch, head, 1, token]``."""
        batch, rows, columns, hidden = x.shape
        patches = x.reshape(batch, rows * columns, hidden)  # [batch, patch, hidden]
        mean = wide(patches).mean(axis=1, keepdims=True).astype(x.dtype)
        tokens = jnp.concatenate([mean, patches], axis=1)  # [batch, token, hidden]
        table = self.positional_embedding[...]
        positions = resampled_positions(table, self.config.patches_per_side, rows, columns, self.precision)
        tokens = tokens + positions[None].astype(x.dtype)
        query = self.split_heads(self.q_proj(tokens[:, :1]))
        key, value = self.split_heads(self.k_proj(tokens)), self.split_heads(self.v_proj(tokens))
        query = query * self.config.head_dim**-0.5
        scores = wide(jnp.matmul(query, key.swapaxes(2, 3), precision=self.precision))  # [batch, head, 1, token]
        weights = jax.nn.softmax(scores).astype(query.dtype)
        pooled = jnp.matmul(weights, value, precision=self.precision)  # [batch, head, 1, head_dim]
        return pooled.reshape(batch, hidden), weights if output_attentions else None

    def split_heads(self, x: Array) -> Array:
        """From ``[batch, token, hidden]`` to ``[batch, head, token, head_dim]``."""
        heads = x.reshape(*x.shape[:2], self.config.num_attention_heads, self.config.head_dim)
        return heads.swapaxes(1, 2)


class VisionResNet(nnx.Module):
    """A stem of three convolutions, four stages of bottlenecks, and attention that pools."""

    def __init__(self, config: CLIPVisionConfig, dtype: Any) -> None:
        assert config.stage_depths is not None
        self.config = config
        self.gradient_checkpointing = False
        self.checkpoint_policy = None
        first, second, third = stem_channels(config.hidden_size)
        self.conv1 = convolution(config.num_channels, first, 3, dtype, stride=2)
        self.bn1 = BatchNorm(first, dtype)
        self.conv2 = convolution(first, second, 3, dtype)
        self.bn2 = BatchNorm(second, dtype)
        self.conv3 = convolution(second, third, 3, dtype)
        self.bn3 = BatchNorm(third, dtype)
        stages = stage_blocks(config.stage_depths, config.hidden_size)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nnx.List([Bottleneck(block, dtype) for block in blocks]) for blocks in stages
        )
        self.attnpool = AttentionPooling(config, dtype)

    def __call__(
        self,
        pixel_values: Array,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        dropout_rng: Array | None = None,
        train: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Pixels ``[batch, channel, height, width]`` to the tower's output; there is no dropout."""
        pixel_values = tensor_input("pixel_values", pixel_values)
        check_pixel_input(sizes(pixel_values), str(pixel_values.dtype), self.config, interpolate_pos_encoding)
        check_pixel_values(host_values(pixel_values))
        x = jnp.asarray(pixel_values, self.conv1.dtype).transpose(0, 2, 3, 1)  # [batch, height, width, channel]
        grids = [self.stem(x, train)]
        for number in range(1, STAGES + 1):
            grids.append(self.stage(number, grids[-1], train))
        last = grids[-1]  # [batch, row, column, hidden]
        pooled, weights = self.attnpool(last, default(output_attentions, self.config.output_attentions))
        wanted = default(output_hidden_states, self.config.output_hidden_states)
        return BaseModelOutputWithPooling.of(
            {
                "last_hidden_state": last.reshape(last.shape[0], -1, last.shape[3]),  # [batch, token, hidden]
                "pooler_output": pooled,
                "hidden_states": tuple(grid.transpose(0, 3, 1, 2) for grid in grids) if wanted else None,
                "attentions": None if weights is None else (weights,),
            }
        )

    def stem(self, x: Array, train: bool = False) -> Array:
        """Pixels ``[batch, height, width, channel]`` to ``[batch, row, column, channel]``, a fourth of their size."""
        for convolve, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = jax.nn.relu(norm(convolve(x), train))
        return average_pool(x)

    def stage(self, number: int, x: Array, train: bool = False) -> Array:
        """The blocks of a stage, counted from 1; one that is recomputed for its gradient counts the batch once."""
        for block in (self.layer1, self.layer2, self.layer3, self.layer4)[number - 1]:
            if self.gradient_checkpointing:
                call = nnx.remat(type(block).__call__, static_argnums=(2,), policy=self.checkpoint_policy)
                x = call(block, x, train)
            else:
                x = block(x, train)
        return x
