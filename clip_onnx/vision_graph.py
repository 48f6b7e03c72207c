"""The vision tower, as nodes of an ONNX graph."""

from __future__ import annotations

import numpy as np

from clip_core.config import CLIPVisionConfig
from clip_onnx.graph import Graph
from clip_onnx.layers import Tower, encoder, flat, layer_norm, layout, linear
from clip_onnx.positions import resampled_positions
from clip_onnx.resnet_graph import resnet_grid, resnet_tower

_TOWER = "vision_model"


def vision_inputs(
    graph: Graph, config: CLIPVisionConfig, size: tuple[int, int] | None = None, batch: str = "batch"
) -> str:
    """``pixel_values`` ``[batch, channel, height, width]`` as an input."""
    height, width = size or (config.image_size, config.image_size)
    return graph.input("pixel_values", "float32", (batch, config.num_channels, height, width))


def finite_pixels(graph: Graph, pixels: str) -> tuple[str, str]:
    """Images with zeros for what is NaN or infinite, and which of them have such, ``[batch, 1]``.

    Rounding to int8 makes numbers of these, and would let them into the scale of the whole batch.
    """
    odd = graph.add("Or", graph.add("IsNaN", pixels), graph.add("IsInf", pixels))
    axes = graph.constant([1, 2, 3], "int64")
    found = graph.add("ReduceMax", graph.cast(odd, "float32"), axes, keepdims=0)
    is_odd = graph.cast(graph.add("Unsqueeze", found, graph.constant([1], "int64")), "bool")
    return graph.add("Where", odd, graph.constant(0.0), pixels), is_odd


def patch_grid(config: CLIPVisionConfig, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the patches of an image, or of what a ResNet leaves of it."""
    return resnet_grid(height, width) if config.is_resnet else (height // config.patch_size, width // config.patch_size)


def vision_embeddings(graph: Graph, config: CLIPVisionConfig, pixels: str, rows: int, columns: int) -> str:
    """Class token and patches plus position embedding, ``[batch, token, hidden]``; the class token is first.

    The class token gets its position here, so that one row is repeated for the batch.
    """
    path, hidden = f"{_TOWER}.embeddings", config.hidden_size
    table = np.asarray(graph.weights[f"{path}.position_embedding.weight"])
    positions = resampled_positions(table, config.patches_per_side, rows, columns)
    first = graph.weights[f"{path}.class_embedding"] + positions[0]
    kernel = graph.weight(f"{path}.patch_embedding.weight")
    patch = config.patch_size
    patches = graph.add("Conv", pixels, kernel, strides=[patch, patch], kernel_shape=[patch, patch])
    patches = graph.add("Reshape", patches, graph.constant([0, hidden, rows * columns], "int64"))
    patches = graph.add("Transpose", patches, perm=[0, 2, 1])  # [batch, patch, hidden]
    patches = graph.add("Add", patches, graph.constant(positions[1:], name=f"{path}.positions_of_patches"))
    batch = graph.add("Shape", pixels, start=0, end=1)
    shape = graph.add("Concat", batch, graph.constant([1, hidden], "int64"), axis=0)
    row = graph.constant(first[None, None], name=f"{path}.class_token")
    return graph.add("Concat", graph.add("Expand", row, shape), patches, axis=1)


def vision_tower(
    graph: Graph,
    config: CLIPVisionConfig,
    pixels: str,
    size: tuple[int, int] | None = None,
    everything: bool = False,
    pooled_only: bool = False,
) -> Tower:
    """The tower, for images of a height and width, the configuration's; with ``everything`` also what is on the way.

    With ``pooled_only`` the pooled output alone is there, and of a transformer's last block the class token computed.
    """
    height, width = size or (config.image_size, config.image_size)
    grid = patch_grid(config, height, width)
    is_odd = ""
    if graph.precision == "int8":
        pixels, is_odd = finite_pixels(graph, pixels)
    if config.is_resnet:
        tower = resnet_tower(graph, config, pixels, grid, everything)
    else:
        tower = transformer_tower(graph, config, pixels, grid, everything, pooled_only)
    if is_odd:
        nan = graph.constant(np.nan)
        tower.pooler_output = graph.add("Where", is_odd, nan, tower.pooler_output)
        if tower.last_hidden_state:
            of_tokens = graph.add("Unsqueeze", is_odd, graph.constant([1], "int64"))
            tower.last_hidden_state = graph.add("Where", of_tokens, nan, tower.last_hidden_state)
    return tower


def transformer_tower(
    graph: Graph,
    config: CLIPVisionConfig,
    pixels: str,
    grid: tuple[int, int],
    everything: bool = False,
    pooled_only: bool = False,
) -> Tower:
    """The tower, for images of a grid of patches; otherwise as `vision_tower`."""
    rows, columns = grid
    tower, form = Tower(), layout(graph, config, graph.constant([rows * columns + 1], "int64"))
    x = flat(graph, config, vision_embeddings(graph, config, pixels, rows, columns))
    x = layer_norm(graph, f"{_TOWER}.pre_layrnorm", x, config.layer_norm_eps)
    asked, queries = tower if everything else None, 1 if pooled_only else None
    first = last = encoder(graph, f"{_TOWER}.encoder", x, config, form, asked, queries)  # [batch * token, hidden]
    if not pooled_only:
        tower.last_hidden_state = graph.add("Reshape", last, form.hidden)
        first = graph.add("Gather", tower.last_hidden_state, graph.constant(0, "int64"), axis=1)  # [batch, hidden]
    tower.pooler_output = layer_norm(graph, f"{_TOWER}.post_layernorm", first, config.layer_norm_eps)
    return tower


def visual_projection(graph: Graph, config: CLIPVisionConfig, pooled: str) -> str:
    """``[batch, hidden]`` to ``[batch, embed]``."""
    return linear(graph, "visual_projection", pooled, bias=config.is_resnet)
