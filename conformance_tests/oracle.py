"""CLIP in float64 NumPy, with the gradient of its loss by every weight: what the backends are compared with.

Written from the paper (Radford et al. 2021, figure 3 and section 2.4) and the published configuration fields, and
independent of the backends: of `clip_core` it uses configurations and the names of weights only. It is itself compared
with transformers in ``tests/test_oracle.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checks import check_end_of_text
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from conformance_tests.oracle_layers import (
    Array,
    Backward,
    Weights,
    attention,
    layer_norm,
    linear,
    mlp,
    patch_embedding,
    resample,
    softmax,
)
from conformance_tests.oracle_resnet import resnet_tower

TowerConfig = CLIPTextConfig | CLIPVisionConfig
Visible = NDArray[np.bool_] | None


def block(
    weights: Weights, path: str, x: Array, config: TowerConfig, visible: Visible
) -> tuple[Array, Array, Backward]:
    """A pre-norm transformer block; also its attention weights."""
    normal1, normal1_backward = layer_norm(weights, f"{path}.layer_norm1", x, config.layer_norm_eps)
    attended, probabilities, attended_backward = attention(
        weights, f"{path}.self_attn", normal1, config.num_attention_heads, visible
    )
    middle = x + attended
    normal2, normal2_backward = layer_norm(weights, f"{path}.layer_norm2", middle, config.layer_norm_eps)
    changed, changed_backward = mlp(weights, f"{path}.mlp", normal2, config.hidden_act)

    def backward(dy: Array) -> Array:
        d_middle = dy + normal2_backward(changed_backward(dy))
        return d_middle + normal1_backward(attended_backward(d_middle))

    return middle + changed, probabilities, backward


def encoder(
    weights: Weights, path: str, x: Array, config: TowerConfig, visible: Visible
) -> tuple[tuple[Array, ...], tuple[Array, ...], Backward]:
    """All hidden states (one more than blocks), all attention weights."""
    states, attentions, backwards = [x], [], []
    for index in range(config.num_hidden_layers):
        x, probabilities, block_backward = block(weights, f"{path}.layers.{index}", x, config, visible)
        states.append(x)
        attentions.append(probabilities)
        backwards.append(block_backward)

    def backward(dy: Array) -> Array:
        for block_backward in reversed(backwards):
            dy = block_backward(dy)
        return dy

    return tuple(states), tuple(attentions), backward


def visible_keys(tokens: int, attention_mask: NDArray[Any] | None) -> NDArray[np.bool_]:
    """Which key a query may see ``[batch or 1, 1, query, key]``: none later than itself, and no padding."""
    visible = np.arange(tokens)[None, None, :, None] >= np.arange(tokens)
    return visible if attention_mask is None else visible & (np.asarray(attention_mask) == 1)[:, None, None, :]


def end_of_text(input_ids: NDArray[Any], config: CLIPTextConfig) -> list[int]:
    """The position of each text's end: of the first end-of-text id, or (legacy, 2) of the first largest id."""
    check_end_of_text(config)
    wanted = [max(row) if config.eos_token_id == 2 else config.eos_token_id for row in input_ids.tolist()]
    return [row.index(end) for row, end in zip(input_ids.tolist(), wanted, strict=True)]


def text_embeddings(
    weights: Weights, path: str, input_ids: NDArray[Any], position_ids: NDArray[Any] | None
) -> tuple[Array, Callable[[Array], None]]:
    """Token plus position embeddings ``[batch, token, hidden]``."""
    tokens, positions = weights[f"{path}.token_embedding.weight"], weights[f"{path}.position_embedding.weight"]
    counted = np.arange(input_ids.shape[1])[None] if position_ids is None else position_ids
    counted = np.broadcast_to(counted, input_ids.shape)

    def backward(dy: Array) -> None:
        for name, table, index in (("token", tokens, input_ids), ("position", positions, counted)):
            gradient = np.zeros_like(table)
            np.add.at(gradient, index, dy)
            weights.add_gradient(f"{path}.{name}_embedding.weight", gradient)

    return tokens[input_ids] + positions[counted], backward


def text_tower(
    weights: Weights,
    config: CLIPTextConfig,
    input_ids: NDArray[Any],
    attention_mask: NDArray[Any] | None = None,
    position_ids: NDArray[Any] | None = None,
) -> tuple[dict[str, Any], Callable[[Array], None]]:
    """The output of the text tower; ``backward`` takes the gradient by its pooled output."""
    path = "text_model"
    x, x_backward = text_embeddings(weights, f"{path}.embeddings", input_ids, position_ids)
    visible = visible_keys(input_ids.shape[1], attention_mask)
    states, attentions, states_backward = encoder(weights, f"{path}.encoder", x, config, visible)
    last, last_backward = layer_norm(weights, f"{path}.final_layer_norm", states[-1], config.layer_norm_eps)
    chosen = np.arange(len(input_ids)), end_of_text(input_ids, config)

    def backward(d_pooled: Array) -> None:
        d_last = np.zeros_like(last)
        d_last[chosen] = d_pooled
        x_backward(states_backward(last_backward(d_last)))

    return _tower_output(last, last[chosen], states, attentions), backward


def vision_embeddings(
    weights: Weights, path: str, pixel_values: NDArray[Any], config: CLIPVisionConfig
) -> tuple[Array, Callable[[Array], None]]:
    """The class token, then the patches row by row, plus position embeddings ``[batch, token, hidden]``."""
    patches, patches_backward = patch_embedding(weights, f"{path}.patch_embedding", pixel_values.astype(np.float64))
    batch, rows, columns, hidden = patches.shape
    side = config.image_size // config.patch_size
    table = weights[f"{path}.position_embedding.weight"]
    grid = table[1:].reshape(side, side, hidden)
    positions, positions_backward = (
        (grid, lambda dy: dy) if (rows, columns) == (side, side) else resample(grid, rows, columns)
    )
    x = np.zeros((batch, 1 + rows * columns, hidden))
    x[:, 0] = weights[f"{path}.class_embedding"] + table[0]
    for row in range(rows):
        for column in range(columns):
            x[:, 1 + row * columns + column] = patches[:, row, column] + positions[row, column]

    def backward(dy: Array) -> None:
        d_class = dy[:, 0].sum(0)
        d_patches = dy[:, 1:].reshape(patches.shape)
        weights.add_gradient(f"{path}.class_embedding", d_class)
        d_grid = positions_backward(d_patches.sum(0)).reshape(-1, hidden)
        weights.add_gradient(f"{path}.position_embedding.weight", np.concatenate([d_class[None], d_grid]))
        patches_backward(d_patches)

    return x, backward


def vision_tower(
    weights: Weights, config: CLIPVisionConfig, pixel_values: NDArray[Any], training: bool = False
) -> tuple[dict[str, Any], Callable[[Array], None]]:
    """The output of the vision tower; ``backward`` takes the gradient by its pooled output.

    Training is another computation in a ResNet only.
    """
    if config.is_resnet:
        return resnet_tower(weights, config, pixel_values, training)
    path, eps = "vision_model", config.layer_norm_eps
    x, x_backward = vision_embeddings(weights, f"{path}.embeddings", pixel_values, config)
    normal, normal_backward = layer_norm(weights, f"{path}.pre_layrnorm", x, eps)  # the name's spelling is upstream's
    states, attentions, states_backward = encoder(weights, f"{path}.encoder", normal, config, None)
    pooled, pooled_backward = layer_norm(weights, f"{path}.post_layernorm", states[-1][:, 0], eps)

    def backward(d_pooled: Array) -> None:
        d_last = np.zeros_like(states[-1])
        d_last[:, 0] = pooled_backward(d_pooled)
        x_backward(normal_backward(states_backward(d_last)))

    return _tower_output(states[-1], pooled, states, attentions), backward


def _tower_output(last: Array, pooled: Array, states: Any, attentions: Any) -> dict[str, Any]:
    return {"last_hidden_state": last, "pooler_output": pooled, "hidden_states": states, "attentions": attentions}


def unit_length(x: Array) -> tuple[Array, Backward]:
    """``x / |x|``."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    y = x / length
    return y, lambda dy: (dy - y * (dy * y).sum(-1, keepdims=True)) / length


def contrastive_loss(logits: Array) -> tuple[Array, Array]:
    """The symmetric loss of a square matrix of logits and its gradient."""
    count = len(logits)
    rows, columns = softmax(logits), softmax(logits.T).T
    diagonal = np.eye(count)
    loss = -(np.log(np.diag(rows)).mean() + np.log(np.diag(columns)).mean()) / 2
    return loss, (rows + columns - 2 * diagonal) / (2 * count)


class Oracle:
    """The full model.

    Args:
        config: of the full model.
        weights: by their shared names, any floating-point dtype.
    """

    def __init__(self, config: CLIPConfig, weights: Mapping[str, NDArray[Any]]) -> None:
        self.config = config
        self.stored = weights

    def text(self, *inputs: Any) -> dict[str, Any]:
        """The text tower's output and ``text_embeds``, not normalised; inputs as of `text_tower`."""
        weights = Weights(self.stored)
        output, _ = text_tower(weights, self.config.text_config, *inputs)
        return {"text_embeds": linear(weights, "text_projection", output["pooler_output"], bias=False)[0], **output}

    def vision(self, pixel_values: NDArray[Any]) -> dict[str, Any]:
        """The vision tower's output and ``image_embeds``, not normalised."""
        weights = Weights(self.stored)
        output, _ = vision_tower(weights, self.config.vision_config, pixel_values)
        return {"image_embeds": self.projected_image(weights, output["pooler_output"])[0], **output}

    def projected_image(self, weights: Weights, pooled: Array) -> tuple[Array, Backward]:
        """The image's embedding; the projection of a ResNet has a bias."""
        return linear(weights, "visual_projection", pooled, bias=self.config.vision_config.is_resnet)

    def outputs(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        """Every output of the full model; ``loss`` if there are as many images as texts."""
        return self._forward(inputs, Weights(self.stored))[0]

    def gradients(self, inputs: Mapping[str, NDArray[Any]], training: bool = False) -> dict[str, Array]:
        """The gradient of the loss by every parameter."""
        return self._forward(inputs, Weights(self.stored), training)[1]()

    def trained(self, batches: Sequence[Mapping[str, NDArray[Any]]], learning_rate: float) -> dict[str, NDArray[Any]]:
        """All weights after a step of stochastic gradient descent in training mode on each batch."""
        stored: dict[str, NDArray[Any]] = dict(self.stored)
        for inputs in batches:
            weights = Weights(stored)
            gradients = self._forward(inputs, weights, training=True)[1]()
            stored = {**updated_weights(stored, gradients, "sgd", learning_rate, 0.0), **weights.updates}
        return stored

    def _forward(
        self, inputs: Mapping[str, NDArray[Any]], weights: Weights, training: bool = False
    ) -> tuple[dict[str, Any], Callable[[], dict[str, Array]]]:
        text_inputs = [inputs.get(name) for name in ("input_ids", "attention_mask", "position_ids")]
        text, text_backward = text_tower(weights, self.config.text_config, *text_inputs)
        vision, vision_backward = vision_tower(weights, self.config.vision_config, inputs["pixel_values"], training)
        projected_text, text_projected = linear(weights, "text_projection", text["pooler_output"], bias=False)
        projected_image, image_projected = self.projected_image(weights, vision["pooler_output"])
        texts, texts_backward = unit_length(projected_text)
        images, images_backward = unit_length(projected_image)
        scale = np.exp(weights["logit_scale"])
        logits = scale * texts @ images.T  # [text, image]
        square = logits.shape[0] == logits.shape[1]
        loss, d_logits = contrastive_loss(logits) if square else (None, None)

        def backward() -> dict[str, Array]:
            weights.add_gradient("logit_scale", (d_logits * logits).sum())
            text_backward(text_projected(texts_backward(scale * d_logits @ images)))
            vision_backward(image_projected(images_backward(scale * d_logits.T @ texts)))
            return weights.gradients

        output = {
            "loss": loss,
            "logits_per_image": logits.T,
            "logits_per_text": logits,
            "text_embeds": texts,
            "image_embeds": images,
            "text_model_output": text,
            "vision_model_output": vision,
        }
        return output, backward


def updated_weights(
    weights: Mapping[str, NDArray[Any]], gradients: Mapping[str, Array], rule: str, learning_rate: float, epsilon: float
) -> dict[str, Array]:
    """Weights after the first step of ``"sgd"`` or ``"adam"`` (whose moments, corrected, are then g and g squared).

    What has no gradient stays as it is.
    """
    steps = {
        "sgd": lambda g: g,
        "adam": lambda g: g / (np.abs(g) + epsilon),
    }
    return {
        name: np.asarray(value, np.float64) - learning_rate * steps[rule](gradients.get(name, np.zeros(())))
        for name, value in weights.items()
    }
