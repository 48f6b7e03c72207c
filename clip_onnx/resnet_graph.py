"""CLIP's modified ResNet as vision tower (decision 27), as nodes of an ONNX graph.

Images inside are ``[batch, channel, row, column]``. Runtimes join a batch normalisation to the convolution before it.
"""

from __future__ import annotations

import numpy as np

from clip_core.config import CLIPVisionConfig
from clip_core.resnet import BATCH_NORM_EPS, STAGES, TOTAL_STRIDE, Block, stage_blocks
from clip_onnx.graph import Graph
from clip_onnx.layers import Tower, linear
from clip_onnx.positions import resampled_positions

_TOWER = "vision_model"


def convolution(graph: Graph, path: str, x: str, stride: int = 1) -> str:
    """A convolution without bias, with zeros around the image: as many on every side as the kernel reaches over."""
    size = graph.weights[f"{path}.weight"].shape[2]
    border, kernel = size // 2, graph.weight(f"{path}.weight")
    return graph.add("Conv", x, kernel, kernel_shape=[size, size], strides=[stride, stride], pads=[border] * 4)


def batch_norm(graph: Graph, path: str, x: str) -> str:
    """Batch normalisation by running statistics."""
    held = [graph.weight(f"{path}.{leaf}") for leaf in ("weight", "bias", "running_mean", "running_var")]
    return graph.add("BatchNormalization", x, *held, epsilon=BATCH_NORM_EPS)


def average_pool(graph: Graph, x: str) -> str:
    """The means of two by two pixels; a last row or column without a partner is not seen."""
    return graph.add("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])


def bottleneck(graph: Graph, path: str, x: str, block: Block) -> str:
    """Three convolutions beside a shortcut; where the image is to get smaller, both are pooled before they convolve."""

    def normed(value: str, number: int) -> str:
        return batch_norm(graph, f"{path}.bn{number}", convolution(graph, f"{path}.conv{number}", value))

    def pooled(value: str) -> str:
        return average_pool(graph, value) if block.stride > 1 else value

    y = graph.add("Relu", normed(x, 1))
    y = normed(pooled(graph.add("Relu", normed(y, 2))), 3)
    if block.has_shortcut:
        shortcut = convolution(graph, f"{path}.downsample.0", pooled(x))
        x = batch_norm(graph, f"{path}.downsample.1", shortcut)
    return graph.add("Relu", graph.add("Add", y, x))


def stem(graph: Graph, x: str) -> str:
    """Pixels ``[batch, channel, height, width]`` to ``[batch, channel, row, column]``, a fourth of their size."""
    for number in (1, 2, 3):
        x = convolution(graph, f"{_TOWER}.conv{number}", x, stride=2 if number == 1 else 1)
        x = graph.add("Relu", batch_norm(graph, f"{_TOWER}.bn{number}", x))
    return average_pool(graph, x)


def stage(graph: Graph, config: CLIPVisionConfig, number: int, x: str) -> str:
    """The blocks of a stage, counted from 1."""
    assert config.stage_depths is not None
    for index, block in enumerate(stage_blocks(config.stage_depths, config.hidden_size)[number - 1]):
        x = bottleneck(graph, f"{_TOWER}.layer{number}.{index}", x, block)
    return x


def attention_pooling(
    graph: Graph, config: CLIPVisionConfig, x: str, rows: int, columns: int, asked: Tower | None = None
) -> str:
    """Attention in which the mean of all tokens asks, ``[batch, hidden, row, column]`` to ``[batch, hidden]``."""
    path, hidden, count = f"{_TOWER}.attnpool", config.hidden_size, rows * columns
    patches = _tokens(graph, config, x, count)
    mean = graph.add("ReduceMean", patches, graph.constant([1], "int64"), keepdims=1)
    table = np.asarray(graph.weights[f"{path}.positional_embedding"])
    positions = resampled_positions(table, config.patches_per_side, rows, columns)
    tokens = graph.add(
        "Add", graph.add("Concat", mean, patches, axis=1), graph.constant(positions, name=f"{path}.positions")
    )
    first = graph.add("Gather", tokens, graph.constant(0, "int64"), axis=1)  # [batch, hidden]
    tokens = graph.add("Reshape", tokens, graph.constant([-1, hidden], "int64"))
    heads = [config.num_attention_heads, config.head_dim]
    query = graph.add("Mul", linear(graph, f"{path}.q_proj", first), graph.constant(config.head_dim**-0.5))
    query = graph.add("Reshape", query, graph.constant([-1, heads[0], 1, heads[1]], "int64"))
    split = graph.constant([-1, count + 1, *heads], "int64")
    key, value = (graph.add("Reshape", linear(graph, f"{path}.{name}_proj", tokens), split) for name in ("k", "v"))
    scores = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 3, 1]))  # [batch, head, 1, token]
    weights = graph.add("Softmax", scores, axis=-1)
    if asked is not None:
        asked.attentions.append(weights)
    pooled = graph.add("MatMul", weights, graph.add("Transpose", value, perm=[0, 2, 1, 3]))
    return graph.add("Reshape", pooled, graph.constant([-1, hidden], "int64"))


def resnet_tower(
    graph: Graph, config: CLIPVisionConfig, pixels: str, grid: tuple[int, int], everything: bool = False
) -> Tower:
    """The tower, for images of which a grid is left; with ``everything`` also what is on the way."""
    tower, (rows, columns) = Tower(), grid
    states = [stem(graph, pixels)]
    for number in range(1, STAGES + 1):
        states.append(stage(graph, config, number, states[-1]))
    tower.hidden_states = states if everything else []
    tower.last_hidden_state = _tokens(graph, config, states[-1], rows * columns)
    tower.pooler_output = attention_pooling(graph, config, states[-1], rows, columns, tower if everything else None)
    return tower


def resnet_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the last stage: the first stride rounds up, all others round down."""
    rows, columns = (((side + 1) // 2) // (TOTAL_STRIDE // 2) for side in (height, width))
    return rows, columns


def _tokens(graph: Graph, config: CLIPVisionConfig, x: str, count: int) -> str:
    """``[batch, hidden, row, column]`` to ``[batch, token, hidden]``."""
    flat = graph.add("Reshape", x, graph.constant([-1, config.hidden_size, count], "int64"))
    return graph.add("Transpose", flat, perm=[0, 2, 1])
