"""The layers of CLIP in float64 NumPy, each with its derivative: the lower half of `oracle`.

Every function returns its result and a function ``backward`` that takes the gradient of the loss by the result, adds
the gradients of the layer's weights to `Weights`, and returns the gradient by the layer's input. Written from the
formulas of Vaswani et al. 2017, Ba et al. 2016, Hendrycks & Gimpel 2016 and Keys 1981, not from any backend.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Backward = Callable[[Array], Array]


class Weights:
    """Weights by their shared names as float64, the gradients collected for them, and the new running statistics."""

    def __init__(self, values: Mapping[str, NDArray[Any]]) -> None:
        self._stored = values
        self.gradients: dict[str, Array] = {}
        self.updates: dict[str, Array] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._stored

    def __getitem__(self, name: str) -> Array:
        return np.asarray(self._stored[name], np.float64)

    def add_gradient(self, name: str, gradient: Array) -> None:
        """Adds to what a weight's gradient is so far."""
        self.gradients[name] = self.gradients.get(name, 0.0) + gradient


def linear(weights: Weights, path: str, x: Array, *, bias: bool = True) -> tuple[Array, Backward]:
    """``x W' + b``."""
    matrix = weights[f"{path}.weight"]  # [out, in]
    y = x @ matrix.T
    if bias:
        y = y + weights[f"{path}.bias"]

    def backward(dy: Array) -> Array:
        flat = dy.reshape(-1, dy.shape[-1])
        weights.add_gradient(f"{path}.weight", flat.T @ x.reshape(-1, x.shape[-1]))
        if bias:
            weights.add_gradient(f"{path}.bias", flat.sum(0))
        return dy @ matrix

    return y, backward


def layer_norm(weights: Weights, path: str, x: Array, eps: float) -> tuple[Array, Backward]:
    """Zero mean and unit variance (of the population, plus eps) over the last axis, then scale and bias."""
    scale, bias = weights[f"{path}.weight"], weights[f"{path}.bias"]
    deviation = np.sqrt(x.var(-1, keepdims=True) + eps)
    normal = (x - x.mean(-1, keepdims=True)) / deviation

    def backward(dy: Array) -> Array:
        axes = tuple(range(dy.ndim - 1))
        weights.add_gradient(f"{path}.weight", (dy * normal).sum(axes))
        weights.add_gradient(f"{path}.bias", dy.sum(axes))
        d = dy * scale
        return (d - d.mean(-1, keepdims=True) - normal * (d * normal).mean(-1, keepdims=True)) / deviation

    return normal * scale + bias, backward


def activation(name: str, x: Array) -> tuple[Array, Array]:
    """The value and the derivative of the activation that configurations call ``name``."""
    if name == "quick_gelu":
        s = np.exp(-np.logaddexp(0.0, -1.702 * x))  # the logistic function, without overflow
        return x * s, s + 1.702 * x * s * (1 - s)
    if name == "gelu":
        cumulative = 0.5 * (1 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2)))
        return x * cumulative, cumulative + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
    if name == "gelu_pytorch_tanh":
        c = math.sqrt(2 / math.pi)
        t = np.tanh(c * (x + 0.044715 * x**3))
        return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * c * (1 + 3 * 0.044715 * x**2)
    raise ValueError(f"no such activation: {name!r}")


def mlp(weights: Weights, path: str, x: Array, name: str) -> tuple[Array, Backward]:
    """Two dense layers with an activation between them."""
    wide, wide_backward = linear(weights, f"{path}.fc1", x)
    active, slope = activation(name, wide)
    y, y_backward = linear(weights, f"{path}.fc2", active)
    return y, lambda dy: wide_backward(y_backward(dy) * slope)


def softmax(x: Array) -> Array:
    """Of the last axis; an entry of minus infinity gets 0."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attention(
    weights: Weights, path: str, x: Array, heads: int, visible: NDArray[np.bool_] | None
) -> tuple[Array, Array, Backward]:
    """Multi-head self-attention; also the attention weights ``[batch, head, query, key]``.

    ``visible`` ``[batch or 1, 1, query, key]`` says which keys a query may see.
    """
    batch, tokens, hidden = x.shape
    size = hidden // heads

    def split(y: Array) -> Array:
        return y.reshape(batch, tokens, heads, size).transpose(0, 2, 1, 3)  # [batch, head, token, head_dim]

    def merge(y: Array) -> Array:
        return y.transpose(0, 2, 1, 3).reshape(batch, tokens, hidden)  # [batch, token, hidden]

    parts = [linear(weights, f"{path}.{name}_proj", x) for name in "qkv"]
    query, key, value = (split(y) for y, _ in parts)
    scores = np.einsum("bhqd,bhkd->bhqk", query, key) / math.sqrt(size)
    probabilities = softmax(scores if visible is None else np.where(visible, scores, -np.inf))
    y, y_backward = linear(weights, f"{path}.out_proj", merge(probabilities @ value))

    def backward(dy: Array) -> Array:
        d = split(y_backward(dy))
        d_probabilities = np.einsum("bhqd,bhkd->bhqk", d, value)
        mean = (d_probabilities * probabilities).sum(-1, keepdims=True)
        d_scores = probabilities * (d_probabilities - mean) / math.sqrt(size)
        d_parts = (d_scores @ key, d_scores.swapaxes(2, 3) @ query, probabilities.swapaxes(2, 3) @ d)
        return sum(part_backward(merge(dp)) for (_, part_backward), dp in zip(parts, d_parts, strict=True))

    return y, probabilities, backward


def patch_embedding(weights: Weights, path: str, pixels: Array) -> tuple[Array, Backward]:
    """Each patch times the kernel, patch by patch: ``[batch, row, column, hidden]``; pixels left over are not seen."""
    kernel = weights[f"{path}.weight"]  # [hidden, channel, height, width]
    size = kernel.shape[-1]
    rows, columns = pixels.shape[2] // size, pixels.shape[3] // size
    y = np.zeros((pixels.shape[0], rows, columns, kernel.shape[0]))
    for row, column, patch in _patches(pixels, size):
        y[:, row, column] = np.einsum("bchw,ochw->bo", patch, kernel, optimize=True)

    def backward(dy: Array) -> Array:
        for row, column, patch in _patches(pixels, size):
            weights.add_gradient(f"{path}.weight", np.einsum("bchw,bo->ochw", patch, dy[:, row, column], optimize=True))
        return np.zeros_like(pixels)  # nobody asks for the gradient by pixels

    return y, backward


def _patches(pixels: Array, size: int) -> Iterator[tuple[int, int, Array]]:
    for row in range(pixels.shape[2] // size):
        for column in range(pixels.shape[3] // size):
            yield row, column, pixels[:, :, row * size : (row + 1) * size, column * size : (column + 1) * size]


def resample(grid: Array, rows: int, columns: int) -> tuple[Array, Backward]:
    """Bicubic resampling of ``grid`` ``[row, column, hidden]``, one sample after the other.

    Keys' kernel with a = -0.75, half-pixel centres, borders repeated, no antialiasing.
    """
    y = np.zeros((rows, columns, grid.shape[2]))
    taps = [
        (i, j, source_row, source_column, row_weight * column_weight)
        for i in range(rows)
        for j in range(columns)
        for source_row, row_weight in _cubic_taps(i, rows, grid.shape[0])
        for source_column, column_weight in _cubic_taps(j, columns, grid.shape[1])
    ]
    for i, j, source_row, source_column, weight in taps:
        y[i, j] += weight * grid[source_row, source_column]

    def backward(dy: Array) -> Array:
        d = np.zeros_like(grid)
        for i, j, source_row, source_column, weight in taps:
            d[source_row, source_column] += weight * dy[i, j]
        return d

    return y, backward


def _cubic_taps(index: int, new_size: int, size: int) -> list[tuple[int, float]]:
    """The four neighbours of a sample and their weights, as polynomials of its distance from the second."""
    position = (index + 0.5) * size / new_size - 0.5
    second = math.floor(position)
    t, a = position - second, -0.75
    values = (
        a * (t**3 - 2 * t**2 + t),
        (a + 2) * t**3 - (a + 3) * t**2 + 1,
        -(a + 2) * t**3 + (2 * a + 3) * t**2 - a * t,
        a * (t**2 - t**3),
    )
    return [(min(max(second - 1 + tap, 0), size - 1), value) for tap, value in enumerate(values)]
