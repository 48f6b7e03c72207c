"""What an `Encoder` computes with: a module for each backend, with the same methods in each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from clip_core.backends import BACKENDS
from clip_core.errors import InputTypeError

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

    @classmethod
    def open(cls, directory: Path, device: str | None, dtype: str) -> Self:
        """The model of a checkpoint directory."""

    @classmethod
    def of(cls, model: Any) -> Self:
        """A model of the caller, where it is."""

    def image_features(self, pixel_values: NDArray[np.float32]) -> Vectors:
        """The model's ``get_image_features``: ``[image, channel, height, width]`` to ``[image, embed]``."""

    def text_features(self, input_ids: NDArray[Any], attention_mask: NDArray[Any] | None) -> Vectors:
        """The model's ``get_text_features``: ``[text, token]`` to ``[text, embed]``."""

    def logit_scale(self) -> np.float32:
        """The weight of that name; cosines are multiplied by its exponential."""


def open_engine(backend: str, directory: Path, device: str | None, dtype: str) -> Engine:
    """The model of a checkpoint directory in a backend; imports its framework."""
    engine: Engine = _engine_class(backend).open(directory, device, dtype)
    return engine


def engine_of(model: Any) -> Engine:
    """A model of the caller, where it is.

    Raises:
        InputTypeError: it is none of ours, or only a tower.
        BackendError: Keras runs on a framework that there is no engine for.
    """
    packages = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    backends = [name for name, backend in BACKENDS.items() if backend.package in packages]
    if not backends or not hasattr(model, "get_text_features"):
        raise InputTypeError(
            f"model: expected a CLIP model of {', '.join(backend.package for backend in BACKENDS.values())} or an "
            f"Encoder, got a {type(model).__name__}."
        )
    engine: Engine = _engine_class(backends[0]).of(model)
    return engine


def _engine_class(backend: str) -> Any:
    if backend == "torch":
        from triclip.engines.torch import TorchEngine

        return TorchEngine
    if backend == "tf":
        from triclip.engines.tf import TFEngine

        return TFEngine
    if backend == "onnx":
        from triclip.engines.onnx import ONNXEngine

        return ONNXEngine
    from triclip.engines.flax import FlaxEngine

    return FlaxEngine
