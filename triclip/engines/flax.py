"""`clip_flax` for the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.typing import NDArray

from clip_flax import FlaxCLIPModel
from clip_flax.model import unit_length
from triclip.engines import Vectors
from triclip.engines.devices import choose_device


class FlaxEngine:
    """An `Engine` on JAX; towers are compiled, anew for each number of images or texts."""

    def __init__(self, directory: Path, device: str | None, dtype: str) -> None:
        devices = _devices()
        self.device = choose_device(device, devices)
        self.place = devices[self.device]
        with self._on_device():
            self.model = FlaxCLIPModel.from_directory(directory, dtype=dtype)
        self.dtype = self.model.dtype.name
        self._image_features = nnx.jit(FlaxCLIPModel.get_image_features)
        self._text_features = nnx.jit(FlaxCLIPModel.get_text_features)

    def image_features(self, pixel_values: NDArray[np.float32]) -> Vectors:
        with self._on_device():
            return _array(self._image_features(self.model, jnp.asarray(pixel_values)))

    def text_features(self, input_ids: NDArray[Any], attention_mask: NDArray[Any]) -> Vectors:
        with self._on_device():
            ids, mask = (jnp.asarray(array, np.int32) for array in (input_ids, attention_mask))
            return _array(self._text_features(self.model, ids, mask))

    def unit_length(self, embeds: Vectors) -> Vectors:
        with self._on_device():
            return _array(unit_length(jnp.asarray(embeds)))

    def logits(self, text_embeds: Vectors, image_embeds: Vectors) -> NDArray[np.float32]:
        with self._on_device():
            return _array(self.model.logits(jnp.asarray(text_embeds), jnp.asarray(image_embeds)))

    def _on_device(self) -> Any:
        return jax.default_device(self.place)


def _array(array: jax.Array) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)


def _devices() -> dict[str, Any]:
    """By their names, JAX's default first."""
    return {f"{device.platform}:{device.id}": device for device in [*jax.devices(), *jax.devices("cpu")]}
