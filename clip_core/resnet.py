"""The shape of CLIP's ResNet tower: which convolutions it has, how wide they are, where the image gets smaller.

Radford et al. 2021, section 2.4: a ResNet-D of bottlenecks with average pooling before every stride, after a stem of
three convolutions, and attention in the place of the global average pool. Every backend makes its layers, and the
weight table its entries, from what is said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

STAGES = 4
TOTAL_STRIDE = 32
"""Pixels along a side of what one token of the last stage stands for: the stem divides by 4, three stages by 2."""
EXPANSION = 4
"""How many times wider a bottleneck's output is than its middle."""
BATCH_NORM_EPS = 1e-5
BATCH_NORM_MOMENTUM = 0.1
"""Of what is new in the running statistics: ``running = 0.9 * running + 0.1 * batch``, in which the variance of the
batch is the unbiased one (divided by ``n - 1``), while what is normalised is divided by the biased one. This is
PyTorch's convention; Keras and Flax call 0.9 the momentum, and have other defaults and the biased variance."""


@dataclass(frozen=True)
class Block:
    """A bottleneck.

    Attributes:
        in_channels, out_channels: of its input and its output.
        channels: of the two convolutions in its middle.
        stride: of the average pooling before its last convolution and in its shortcut; 1 for none.
        has_shortcut: whether its input is pooled, convolved and normalised before it is added (``downsample``), rather
            than added as it is.
    """

    in_channels: int
    channels: int
    out_channels: int
    stride: int
    has_shortcut: bool


def stem_channels(hidden_size: int) -> tuple[int, int, int]:
    """Output channels of the three convolutions of the stem."""
    width = hidden_size // TOTAL_STRIDE
    return (width // 2, width // 2, width)


def stage_blocks(stage_depths: Sequence[int], hidden_size: int) -> tuple[tuple[Block, ...], ...]:
    """The bottlenecks of every stage."""
    width = stem_channels(hidden_size)[-1]
    stages, in_channels = [], width
    for number, depth in enumerate(stage_depths):
        channels, blocks = width * 2**number, []
        for index in range(depth):
            stride = 2 if number > 0 and index == 0 else 1
            out_channels = channels * EXPANSION
            blocks.append(Block(in_channels, channels, out_channels, stride, stride > 1 or in_channels != out_channels))
            in_channels = out_channels
        stages.append(tuple(blocks))
    return tuple(stages)
