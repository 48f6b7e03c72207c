"""CLIP's ResNet tower in float64 NumPy, each part with its derivative: the other half of `oracle`.

Every function returns its result and a function ``backward``, as in `oracle_layers`. Written from Radford et al. 2021,
section 2.4, He et al. 2016, He et al. 2019 (ResNet-D), Zhang 2019 (pooling before a stride) and Ioffe & Szegedy 2015.
In training, batch normalisation uses the statistics of the batch, and notes in ``weights.updates`` what the running
ones become.

Images and what convolutions make of them are ``[batch, channel, row, column]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.config import CLIPVisionConfig
from conformance_tests.oracle_layers import Array, Backward, Weights, linear, resample, softmax

EPS = 1e-5
MOMENTUM = 0.1
"""Of the new batch in a running statistic."""


def convolution(weights: Weights, path: str, x: Array, stride: int = 1) -> tuple[Array, Backward]:
    """Without bias; zeros around the image, as many on every side as let the kernel stand on every border pixel."""
    kernel = weights[f"{path}.weight"]  # [out, in, height, width]
    size = kernel.shape[-1]
    border = (size - 1) // 2
    padded = np.pad(x, ((0, 0), (0, 0), (border, border), (border, border)))
    rows, columns = ((length + 2 * border - size) // stride + 1 for length in x.shape[2:])

    def seen(image: Array, i: int, j: int) -> Array:
        """The pixels that a place of the kernel meets; a view."""
        return image[:, :, i : i + stride * rows : stride, j : j + stride * columns : stride]

    places = [(i, j) for i in range(size) for j in range(size)]
    y = sum(np.einsum("bchw,oc->bohw", seen(padded, i, j), kernel[:, :, i, j], optimize=True) for i, j in places)

    def backward(dy: Array) -> Array:
        d_padded, d_kernel = np.zeros_like(padded), np.zeros_like(kernel)
        for i, j in places:
            d_kernel[:, :, i, j] = np.einsum("bchw,bohw->oc", seen(padded, i, j), dy, optimize=True)
            view = seen(d_padded, i, j)
            view += np.einsum("bohw,oc->bchw", dy, kernel[:, :, i, j], optimize=True)
        weights.add_gradient(f"{path}.weight", d_kernel)
        return d_padded[:, :, border : border + x.shape[2], border : border + x.shape[3]]

    return np.asarray(y), backward


def batch_norm(weights: Weights, path: str, x: Array, training: bool) -> tuple[Array, Backward]:
    """Zero mean and unit variance of each channel, over batch and image in training, else by running statistics."""
    axes, per_channel = (0, 2, 3), (slice(None), None, None)
    scale, bias = weights[f"{path}.weight"][per_channel], weights[f"{path}.bias"][per_channel]
    mean, variance = weights[f"{path}.running_mean"], weights[f"{path}.running_var"]
    count = x.size // x.shape[1]
    if training:
        kept = {"running_mean": (mean, x.mean(axes)), "running_var": (variance, x.var(axes) * count / (count - 1))}
        for name, (old, new) in kept.items():
            weights.updates[f"{path}.{name}"] = (1 - MOMENTUM) * old + MOMENTUM * new
        weights.updates[f"{path}.num_batches_tracked"] = weights[f"{path}.num_batches_tracked"] + 1
        mean, variance = x.mean(axes), x.var(axes)
    deviation = np.sqrt(variance + EPS)[per_channel]
    normal = (x - mean[per_channel]) / deviation

    def backward(dy: Array) -> Array:
        weights.add_gradient(f"{path}.weight", (dy * normal).sum(axes))
        weights.add_gradient(f"{path}.bias", dy.sum(axes))
        d = dy * scale
        if training:
            d = d - d.mean(axes)[per_channel] - normal * (d * normal).mean(axes)[per_channel]
        return d / deviation

    return normal * scale + bias, backward


def relu(x: Array) -> tuple[Array, Backward]:
    """What is positive."""
    return np.maximum(x, 0), lambda dy: dy * (x > 0)


def average_pool(x: Array) -> tuple[Array, Backward]:
    """The mean of each two by two pixels; a last row or column that has no partner is not seen."""
    rows, columns = x.shape[2] // 2, x.shape[3] // 2

    def corners(image: Array) -> list[Array]:
        return [image[:, :, i : 2 * rows : 2, j : 2 * columns : 2] for i in range(2) for j in range(2)]

    def backward(dy: Array) -> Array:
        d = np.zeros_like(x)
        for corner in corners(d):
            corner += dy / 4
        return d

    return np.asarray(sum(corners(x))) / 4, backward


def in_order(x: Array, *steps: Callable[[Array], tuple[Array, Backward]]) -> tuple[Array, Backward]:
    """One step after the other."""
    backwards = []
    for step in steps:
        x, step_backward = step(x)
        backwards.append(step_backward)

    def backward(dy: Array) -> Array:
        for step_backward in reversed(backwards):
            dy = step_backward(dy)
        return dy

    return x, backward


def normalised(
    weights: Weights, path: str, number: str, training: bool, stride: int = 1
) -> tuple[Callable[[Array], tuple[Array, Backward]], Callable[[Array], tuple[Array, Backward]]]:
    """A convolution and its batch normalisation, as steps."""
    return (
        lambda x: convolution(weights, f"{path}.conv{number}", x, stride),
        lambda x: batch_norm(weights, f"{path}.bn{number}", x, training),
    )


def stem(weights: Weights, path: str, x: Array, training: bool = False) -> tuple[Array, Backward]:
    """Three convolutions, of which the first halves the image, and a pooling that halves it again."""
    return in_order(
        x,
        *(*normalised(weights, path, "1", training, 2), relu),
        *(*normalised(weights, path, "2", training), relu),
        *(*normalised(weights, path, "3", training), relu),
        average_pool,
    )


def bottleneck(weights: Weights, path: str, x: Array, stride: int, training: bool = False) -> tuple[Array, Backward]:
    """Three convolutions beside a shortcut; where there is a stride, both pool before their last convolution."""
    pooling = (average_pool,) if stride == 2 else ()
    added, added_backward = in_order(
        x,
        *(*normalised(weights, path, "1", training), relu),
        *(*normalised(weights, path, "2", training), relu),
        *pooling,
        *normalised(weights, path, "3", training),
    )
    shortcut, shortcut_backward = x, lambda dy: dy
    if f"{path}.downsample.0.weight" in weights:
        shortcut, shortcut_backward = in_order(
            x,
            *pooling,
            lambda y: convolution(weights, f"{path}.downsample.0", y),
            lambda y: batch_norm(weights, f"{path}.downsample.1", y, training),
        )
    y, y_backward = relu(added + shortcut)

    def backward(dy: Array) -> Array:
        d = y_backward(dy)
        return added_backward(d) + shortcut_backward(d)

    return y, backward


def stage(
    weights: Weights, config: CLIPVisionConfig, number: int, x: Array, training: bool = False
) -> tuple[Array, Backward]:
    """The bottlenecks of a stage, counted from 1; the first of every stage but the first halves the image."""
    assert config.stage_depths is not None
    strides = [2 if number > 1 and index == 0 else 1 for index in range(config.stage_depths[number - 1])]
    steps = [
        lambda y, index=index, stride=stride: bottleneck(
            weights, f"vision_model.layer{number}.{index}", y, stride, training
        )
        for index, stride in enumerate(strides)
    ]
    return in_order(x, *steps)


def pooled_by_attention(
    weights: Weights, config: CLIPVisionConfig, grid: Array
) -> tuple[Array, Array, Callable[[Array], Array]]:
    """What the mean token finds among itself and all tokens ``[batch, hidden]``; its attention ``[b, head, 1, token]``.

    The output layer is the model's ``visual_projection``, so it is not here.
    """
    path, heads = "vision_model.attnpool", config.num_attention_heads
    batch, hidden, rows, columns = grid.shape
    side, size = config.image_size // config.patch_size, hidden // heads
    table = weights[f"{path}.positional_embedding"]
    trained = table[1:].reshape(side, side, hidden)
    positions, positions_backward = (
        (trained, lambda dy: dy) if (rows, columns) == (side, side) else resample(trained, rows, columns)
    )
    patches = grid.transpose(0, 2, 3, 1).reshape(batch, rows * columns, hidden)
    tokens = np.concatenate([patches.mean(1, keepdims=True), patches], 1)
    tokens = tokens + np.concatenate([table[:1], positions.reshape(-1, hidden)])
    query, query_backward = linear(weights, f"{path}.q_proj", tokens[:, :1])
    key, key_backward = linear(weights, f"{path}.k_proj", tokens)
    value, value_backward = linear(weights, f"{path}.v_proj", tokens)

    def split(y: Array) -> Array:
        return y.reshape(batch, -1, heads, size).transpose(0, 2, 1, 3)  # [batch, head, token, head_dim]

    def merge(y: Array) -> Array:
        return y.transpose(0, 2, 1, 3).reshape(batch, -1, hidden)  # [batch, token, hidden]

    probabilities = softmax(np.einsum("bhqd,bhkd->bhqk", split(query), split(key)) / np.sqrt(size))
    pooled = merge(probabilities @ split(value))[:, 0]

    def backward(dy: Array) -> Array:
        d = split(dy[:, None])
        d_probabilities = np.einsum("bhqd,bhkd->bhqk", d, split(value))
        mean = (d_probabilities * probabilities).sum(-1, keepdims=True)
        d_scores = probabilities * (d_probabilities - mean) / np.sqrt(size)
        d_tokens = key_backward(merge(d_scores.swapaxes(2, 3) @ split(query)))
        d_tokens = d_tokens + value_backward(merge(probabilities.swapaxes(2, 3) @ d))
        d_tokens[:, :1] += query_backward(merge(d_scores @ split(key)))
        d_table = d_tokens.sum(0)
        d_trained = positions_backward(d_table[1:].reshape(rows, columns, hidden)).reshape(-1, hidden)
        weights.add_gradient(f"{path}.positional_embedding", np.concatenate([d_table[:1], d_trained]))
        d_patches = d_tokens[:, 1:] + d_tokens[:, :1] / (rows * columns)
        return d_patches.reshape(batch, rows, columns, hidden).transpose(0, 3, 1, 2)

    return pooled, probabilities, backward


def states_of(
    weights: Weights, config: CLIPVisionConfig, pixel_values: NDArray[Any], training: bool = False
) -> tuple[tuple[Array, ...], Callable[[Array], None]]:
    """The output of the stem and of every stage; ``backward`` takes the gradient by the last."""
    x, x_backward = stem(weights, "vision_model", pixel_values.astype(np.float64), training)
    states, backwards = [x], [x_backward]
    for number in range(1, 5):
        x, x_backward = stage(weights, config, number, x, training)
        states.append(x)
        backwards.append(x_backward)

    def backward(d: Array) -> None:
        for state_backward in reversed(backwards):
            d = state_backward(d)

    return tuple(states), backward


def resnet_tower(
    weights: Weights, config: CLIPVisionConfig, pixel_values: NDArray[Any], training: bool = False
) -> tuple[dict[str, Any], Callable[[Array], None]]:
    """The output of the tower; ``backward`` takes the gradient by its pooled output."""
    states, states_backward = states_of(weights, config, pixel_values, training)
    pooled, probabilities, pooled_backward = pooled_by_attention(weights, config, states[-1])
    output = {
        "last_hidden_state": states[-1].transpose(0, 2, 3, 1).reshape(len(pooled), -1, config.hidden_size),
        "pooler_output": pooled,
        "hidden_states": states,
        "attentions": (probabilities,),
    }
    return output, lambda d_pooled: states_backward(pooled_backward(d_pooled))
