"""CLIP's modified ResNet as vision tower, for Keras (Radford et al. 2021, section 2.4; decisions 27 and 28).

Layers have OpenAI's names. Images inside are ``[batch, row, column, channel]``.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import ops

from clip_core.checks import check_batch_statistics, check_pixel_input, check_pixel_values
from clip_core.config import CLIPVisionConfig
from clip_core.outputs import BaseModelOutputWithPooling
from clip_core.resnet import BATCH_NORM_EPS, BATCH_NORM_MOMENTUM, STAGES, Block, stage_blocks, stem_channels
from clip_tf.frameworks import framework
from clip_tf.layers import (
    Tensor,
    default,
    dtype_name,
    host_values,
    linear,
    plain_errors,
    sizes,
    tensor_input,
    wide,
)
from clip_tf.positions import resampled_positions


def convolution(in_channels: int, out_channels: int, size: int, stride: int = 1, *, name: str) -> keras.layers.Conv2D:
    """A convolution without bias, with zeros around the image: as many on every side as the kernel reaches over.

    With a stride Keras would put them on two sides only, so there the caller does; see `zeros_around`.
    """
    layer = keras.layers.Conv2D(
        out_channels,
        size,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        data_format="channels_last",
        use_bias=False,
        kernel_initializer="zeros",
        name=name,
    )
    layer.build((None, None, None, in_channels))
    return layer


def zeros_around(x: Tensor) -> Tensor:
    """An image ``[batch, row, column, channel]`` with one more pixel on every side."""
    return ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))


def average_pool(x: Tensor) -> Tensor:
    """The means of two by two pixels; a last row or column without a partner is not seen."""
    return ops.cast(ops.average_pool(wide(x), 2, 2, "valid", data_format="channels_last"), x.dtype)


class BatchNorm(keras.layers.Layer):
    """Batch normalisation, in float32 or wider whatever the dtypes of input, weights and statistics."""

    def __init__(self, channels: int, *, name: str) -> None:
        super().__init__(name=name)
        kept = self.variable_dtype if self.variable_dtype == "float64" else "float32"
        with keras.name_scope(name, caller=self):
            self.gamma = self.add_weight((channels,), initializer="zeros", autocast=False, name="gamma")
            self.beta = self.add_weight((channels,), initializer="zeros", autocast=False, name="beta")
            statistics = {"dtype": kept, "initializer": "zeros", "trainable": False, "autocast": False}
            self.moving_mean = self.add_weight((channels,), **statistics, aggregation="mean", name="moving_mean")
            self.moving_variance = self.add_weight(
                (channels,), **statistics, aggregation="mean", name="moving_variance"
            )
            counter = {**statistics, "dtype": framework.COUNTER_DTYPE}
            self.num_batches_tracked = self.add_weight(
                (), **counter, aggregation="only_first_replica", name="num_batches_tracked"
            )

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """``[batch, row, column, channel]`` to the same shape; in training, the batch enters the statistics.

        As in every Keras model, a layer that is not trainable uses and keeps its running statistics in training, too.
        """
        if training and self.trainable:
            y, mean, unbiased = self.by_batch(x)
            self.track(mean, unbiased)
            return y
        return self.normalised(x, wide(self.moving_mean), wide(self.moving_variance))

    def normalised(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """``[batch, row, column, channel]`` by the statistics of its channels, to the same shape."""
        y = (wide(x) - mean) * ops.rsqrt(variance + BATCH_NORM_EPS)
        return ops.cast(y * wide(self.gamma) + wide(self.beta), x.dtype)

    def by_batch(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``[batch, row, column, channel]`` normalised by its own statistics; its mean and its unbiased variance.

        Where a graph finds that it is empty, the statistics are those that are kept.
        """
        known = sizes(x)[:3]
        with plain_errors():
            check_batch_statistics(None if None in known else known[0] * known[1] * known[2])
        mean = ops.mean(wide(x), axis=(0, 1, 2))
        variance = ops.mean(ops.square(wide(x) - mean), axis=(0, 1, 2))
        shape = ops.shape(x)
        count = ops.cast(shape[0] * shape[1] * shape[2], variance.dtype)
        unbiased = variance * (count / (count - 1))
        y, is_there = self.normalised(x, mean, variance), count > 0  # a replica can have none of a batch's images
        mean = ops.where(is_there, mean, ops.cast(self.moving_mean, mean.dtype))
        unbiased = ops.where(is_there, unbiased, ops.cast(self.moving_variance, mean.dtype))
        return y, ops.stop_gradient(mean), ops.stop_gradient(unbiased)

    def track(self, mean: Tensor, unbiased: Tensor) -> None:
        """Takes the statistics of a batch into those that are kept."""
        for kept, new in ((self.moving_mean, mean), (self.moving_variance, unbiased)):
            old = ops.convert_to_tensor(kept)
            kept.assign(old + BATCH_NORM_MOMENTUM * (ops.cast(new, old.dtype) - old))
        self.num_batches_tracked.assign(self.num_batches_tracked + 1)


class Bottleneck(keras.layers.Layer):
    """Three convolutions beside a shortcut; where the image is to get smaller, both are pooled before they convolve."""

    def __init__(self, block: Block, *, name: str) -> None:
        super().__init__(name=name)
        self.stride = block.stride
        with keras.name_scope(name, caller=self):
            self.conv1 = convolution(block.in_channels, block.channels, 1, name="conv1")
            self.bn1 = BatchNorm(block.channels, name="bn1")
            self.conv2 = convolution(block.channels, block.channels, 3, name="conv2")
            self.bn2 = BatchNorm(block.channels, name="bn2")
            self.conv3 = convolution(block.channels, block.out_channels, 1, name="conv3")
            self.bn3 = BatchNorm(block.out_channels, name="bn3")
            self.downsample: list[keras.layers.Layer] = []
            if block.has_shortcut:
                with keras.name_scope("downsample"):
                    convolve = convolution(block.in_channels, block.out_channels, 1, name="0")
                    self.downsample = [convolve, BatchNorm(block.out_channels, name="1")]
            track_parts(self, "downsample", self.downsample)

    def call(self, x: Tensor, training: bool = False) -> Tensor:
        """``[batch, row, column, channel]`` to the block's channels, rows and columns divided by its stride."""
        return self.computed(x, lambda norm, y: norm(y, training=training))

    def computed(self, x: Tensor, normalise: Callable[[BatchNorm, Tensor], Tensor]) -> Tensor:
        """The block, with what a normalisation computes."""
        y = ops.relu(normalise(self.bn1, self.conv1(x)))
        y = self.pooled(ops.relu(normalise(self.bn2, self.conv2(y))))
        y = normalise(self.bn3, self.conv3(y))
        if self.downsample:
            convolve, norm = self.downsample
            x = normalise(norm, convolve(self.pooled(x)))
        return ops.relu(y + x)

    def pooled(self, x: Tensor) -> Tensor:
        """What gets smaller by the block's stride."""
        return average_pool(x) if self.stride > 1 else x


class AttentionPooling(keras.layers.Layer):
    """Attention in which the mean of all tokens asks; its output layer is the model's ``visual_projection``."""

    def __init__(self, config: CLIPVisionConfig, *, name: str) -> None:
        super().__init__(name=name)
        self.config = config
        hidden, tokens = config.hidden_size, config.patches_per_side**2 + 1
        with keras.name_scope(name, caller=self):
            self.positional_embedding = self.add_weight(
                (tokens, hidden), initializer="zeros", name="positional_embedding"
            )
            self.q_proj = linear(hidden, hidden, name="q_proj")
            self.k_proj = linear(hidden, hidden, name="k_proj")
            self.v_proj = linear(hidden, hidden, name="v_proj")

    def call(self, x: Tensor, output_attentions: bool = False) -> tuple[Tensor, Tensor | None]:
        """``[batch, row, column, hidden]`` to ``[batch, hidden]``, and the attention ``[batch, head, 1, token]``."""
        rows, columns = sizes(x)[1:3]
        patches = ops.reshape(x, (ops.shape(x)[0], -1, self.config.hidden_size))  # [batch, patch, hidden]
        mean = ops.cast(ops.mean(wide(patches), axis=1, keepdims=True), x.dtype)
        tokens = ops.concatenate([mean, patches], axis=1)  # [batch, token, hidden]
        table = ops.convert_to_tensor(self.positional_embedding)
        tokens = tokens + ops.cast(resampled_positions(table, self.config.patches_per_side, rows, columns), x.dtype)
        query = self.split_heads(self.q_proj(tokens[:, :1]))
        key, value = self.split_heads(self.k_proj(tokens)), self.split_heads(self.v_proj(tokens))
        query = query * self.config.head_dim**-0.5
        scores = wide(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))))  # [batch, head, 1, token]
        weights = ops.cast(ops.softmax(scores), query.dtype)
        pooled = ops.matmul(weights, value)  # [batch, head, 1, head_dim]
        pooled = ops.reshape(pooled, (ops.shape(x)[0], self.config.hidden_size))  # [batch, hidden]
        return pooled, weights if output_attentions else None

    def split_heads(self, x: Tensor) -> Tensor:
        """From ``[batch, token, hidden]`` to ``[batch, head, token, head_dim]``."""
        heads, head_dim = self.config.num_attention_heads, self.config.head_dim
        return ops.transpose(ops.reshape(x, (ops.shape(x)[0], -1, heads, head_dim)), (0, 2, 1, 3))


class VisionResNet(keras.layers.Layer):
    """A stem of three convolutions, four stages of bottlenecks, and attention that pools."""

    def __init__(self, config: CLIPVisionConfig, *, name: str) -> None:
        super().__init__(name=name)
        assert config.stage_depths is not None
        self.config = config
        self.gradient_checkpointing = False
        first, second, third = stem_channels(config.hidden_size)
        stages = stage_blocks(config.stage_depths, config.hidden_size)
        with keras.name_scope(name, caller=self):
            self.conv1 = convolution(config.num_channels, first, 3, stride=2, name="conv1")
            self.bn1 = BatchNorm(first, name="bn1")
            self.conv2 = convolution(first, second, 3, name="conv2")
            self.bn2 = BatchNorm(second, name="bn2")
            self.conv3 = convolution(second, third, 3, name="conv3")
            self.bn3 = BatchNorm(third, name="bn3")
            for number, blocks in enumerate(stages, 1):
                with keras.name_scope(f"layer{number}"):
                    setattr(self, f"layer{number}", [Bottleneck(each, name=str(at)) for at, each in enumerate(blocks)])
                track_parts(self, f"layer{number}", getattr(self, f"layer{number}"))
            self.attnpool = AttentionPooling(config, name="attnpool")

    def call(
        self,
        pixel_values: Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        interpolate_pos_encoding: bool = False,
        training: bool = False,
    ) -> BaseModelOutputWithPooling:
        """Pixels ``[batch, channel, height, width]`` to the tower's output."""
        pixel_values = tensor_input("pixel_values", pixel_values)
        with plain_errors():
            check_pixel_input(sizes(pixel_values), dtype_name(pixel_values), self.config, interpolate_pos_encoding)
            check_pixel_values(host_values(pixel_values))
        if not interpolate_pos_encoding:  # sizes that a graph left open are checked when it runs
            size = self.config.image_size
            pixel_values = framework.with_sizes(pixel_values, (None, self.config.num_channels, size, size))
        grids = [self.stem(ops.transpose(pixel_values, (0, 2, 3, 1)), training)]
        for number in range(1, STAGES + 1):
            grids.append(self.stage(number, grids[-1], training))
        last = grids[-1]  # [batch, row, column, hidden]
        pooled, weights = self.attnpool(
            last, output_attentions=default(output_attentions, self.config.output_attentions)
        )
        wanted = default(output_hidden_states, self.config.output_hidden_states)
        tokens = ops.reshape(last, (ops.shape(last)[0], -1, self.config.hidden_size))  # [batch, token, hidden]
        return BaseModelOutputWithPooling.of(
            {
                "last_hidden_state": tokens,
                "pooler_output": pooled,
                "hidden_states": tuple(ops.transpose(grid, (0, 3, 1, 2)) for grid in grids) if wanted else None,
                "attentions": None if weights is None else (weights,),
            }
        )

    def stem(self, x: Tensor, training: bool = False) -> Tensor:
        """Pixels ``[batch, height, width, channel]`` to ``[batch, row, column, channel]``, a fourth of their size."""
        x = zeros_around(x)
        for convolve, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            x = ops.relu(norm(convolve(x), training=training))
        return average_pool(x)

    def stage(self, number: int, x: Tensor, training: bool = False) -> Tensor:
        """The blocks of a stage, counted from 1; one that is recomputed for its gradient counts the batch once."""
        for block in (self.layer1, self.layer2, self.layer3, self.layer4)[number - 1]:
            x = recompute(block, x) if self.gradient_checkpointing and training else block(x, training=training)
        return x


def recompute(block: Bottleneck, x: Tensor) -> Tensor:
    """The block's output in training; its activations are computed again in the backward pass instead of being kept.

    Statistics are returned by what is recomputed, and kept outside of it, once.
    """
    norms: list[BatchNorm] = []

    @keras.remat
    def run(x: Tensor) -> tuple[Tensor, ...]:
        norms.clear()
        statistics: list[Tensor] = []

        def normalise(norm: BatchNorm, y: Tensor) -> Tensor:
            if not norm.trainable:
                return norm(y, training=True)
            y, *found = norm.by_batch(y)
            norms.append(norm)
            statistics.extend(found)
            return y

        return (block.computed(x, normalise), *statistics)

    y, *statistics = run(x)
    for norm, mean, unbiased in zip(list(norms), statistics[::2], statistics[1::2], strict=True):
        norm.track(mean, unbiased)
    return y


def track_parts(owner: keras.layers.Layer, name: str, parts: list[keras.layers.Layer]) -> None:
    """Has TensorFlow's checkpoints see the layers in a list, which Keras' own files number after their classes."""
    for index, layer in enumerate(parts):
        setattr(owner, f"{name}_{index}", layer)
