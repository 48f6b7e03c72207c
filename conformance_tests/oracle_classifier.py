"""The image classifier in float64 NumPy, with the gradient of its losses by every weight: a part of `oracle`.

Written from transformers' documentation: the mean of the patch tokens, a linear layer, and three losses. Compared with
transformers in ``tests/test_oracle.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.config import CLIPConfig, CLIPVisionConfig
from conformance_tests.oracle import encoder, vision_embeddings
from conformance_tests.oracle_layers import Array, Weights, layer_norm, linear, softmax
from conformance_tests.oracle_resnet import states_of

IGNORED = -100


def loss_of(problem: str, logits: Array, labels: NDArray[Any]) -> tuple[float, Array]:
    """The loss of logits ``[image, label]`` and its gradient by them."""
    gradient = np.zeros_like(logits)
    total, terms = 0.0, 0
    for image, row in enumerate(logits):
        if problem == "single_label_classification":
            label = int(np.ravel(labels)[image])
            if label != IGNORED:
                probabilities = softmax(row[None])[0]
                total -= np.log(probabilities[label])
                gradient[image] = probabilities
                gradient[image, label] -= 1
                terms += 1
            continue
        for label, logit in enumerate(row):
            target = float(labels.reshape(logits.shape)[image, label])
            terms += 1
            if problem == "regression":
                total += (logit - target) ** 2
                gradient[image, label] = 2 * (logit - target)
            else:
                total -= target * -np.logaddexp(0, -logit) + (1 - target) * -np.logaddexp(0, logit)
                gradient[image, label] = 1 / (1 + np.exp(-logit)) - target
    return total / terms, gradient / terms


class ClassifierOracle:
    """The classifier.

    Args:
        config: of the full model.
        weights: of the vision tower and the classifier, by their shared names.
    """

    def __init__(self, config: CLIPConfig, weights: Mapping[str, NDArray[Any]]) -> None:
        self.config, self.stored = config, weights

    def logits(self, pixel_values: NDArray[Any]) -> Array:
        """``[image, label]``; the mean of the patch tokens where there are no labels."""
        return self._forward(pixel_values)[0]

    def loss_and_gradients(
        self, pixel_values: NDArray[Any], labels: NDArray[Any], problem: str
    ) -> tuple[float, dict[str, Array]]:
        """The loss and its gradient by every weight that has a part in it."""
        logits, backward = self._forward(pixel_values)
        loss, d_logits = loss_of(problem, logits, labels)
        return loss, backward(d_logits)

    def _forward(self, pixel_values: NDArray[Any]) -> tuple[Array, Any]:
        weights = Weights(self.stored)
        tower = _patches_of_resnet if self.config.vision_config.is_resnet else _patches
        patches, patches_backward = tower(weights, self.config.vision_config, pixel_values)
        pooled = patches.mean(1)  # [image, hidden]
        if not self.config.num_labels:
            return pooled, None
        logits, logits_backward = linear(weights, "classifier", pooled)

        def backward(d_logits: Array) -> dict[str, Array]:
            d_pooled = logits_backward(d_logits)[:, None] / patches.shape[1]
            patches_backward(np.broadcast_to(d_pooled, patches.shape))
            return weights.gradients

        return logits, backward


def _patches(
    weights: Weights, config: CLIPVisionConfig, pixel_values: NDArray[Any]
) -> tuple[Array, Callable[[Array], None]]:
    """The last hidden state of a transformer ``[image, patch, hidden]``, without the class token."""
    path = "vision_model"
    x, x_backward = vision_embeddings(weights, f"{path}.embeddings", pixel_values, config)
    normal, normal_backward = layer_norm(weights, f"{path}.pre_layrnorm", x, config.layer_norm_eps)
    states, _, states_backward = encoder(weights, f"{path}.encoder", normal, config, None)

    def backward(d_patches: Array) -> None:
        d_last = np.zeros_like(states[-1])
        d_last[:, 1:] = d_patches
        x_backward(normal_backward(states_backward(d_last)))

    return states[-1][:, 1:], backward


def _patches_of_resnet(
    weights: Weights, config: CLIPVisionConfig, pixel_values: NDArray[Any]
) -> tuple[Array, Callable[[Array], None]]:
    """The last stage of a ResNet ``[image, patch, hidden]``."""
    states, states_backward = states_of(weights, config, pixel_values)
    last = states[-1]  # [image, hidden, row, column]

    def backward(d_patches: Array) -> None:
        states_backward(d_patches.transpose(0, 2, 1).reshape(last.shape))

    return last.reshape(*last.shape[:2], -1).transpose(0, 2, 1), backward
