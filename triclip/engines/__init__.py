"""What an `Encoder` computes with: a module for each backend, with the same methods in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Engine(Protocol):
    """A model in one framework. NumPy arrays go in; what comes out is float32, whatever the dtype of the weights.

    Attributes:
        model: the backend's CLIPModel.
        device: where it computes, such as ``"cpu:0"`` or ``"gpu:0"``.
        dtype: of the weights and the computation.
    """

    model: Any
    device: str
    dtype: str

    def image_features(self, pixel_values: NDArray[np.float32]) -> Vectors:
        """The model's ``get_image_features``: ``[image, channel, height, width]`` to ``[image, embed]``."""

    def text_features(self, input_ids: NDArray[Any], attention_mask: NDArray[Any]) -> Vectors:
        """The model's ``get_text_features``: ``[text, token]`` to ``[text, embed]``."""

    def unit_length(self, embeds: Vectors) -> Vectors:
        """The model's own normalisation of ``[batch, embed]``."""

    def logits(self, text_embeds: Vectors, image_embeds: Vectors) -> NDArray[np.float32]:
        """The model's own logits of unit vectors: ``[text, image]``."""


def open_engine(backend: str, directory: Path, device: str | None, dtype: str) -> Engine:
    """The model of a checkpoint directory in a backend; imports its framework."""
    if backend == "torch":
        from triclip.engines.torch import TorchEngine

        return TorchEngine(directory, device, dtype)
    if backend == "tf":
        from triclip.engines.tf import TFEngine

        return TFEngine(directory, device, dtype)
    from triclip.engines.flax import FlaxEngine

    return FlaxEngine(directory, device, dtype)
