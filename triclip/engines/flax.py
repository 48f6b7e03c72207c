"""`clip_flax` for the encoder."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np
from numpy.typing import NDArray

from clip_core.padding import rounded_up
from clip_flax import FlaxCLIPModel
from triclip.engines import Vectors
from triclip.engines.devices import choose_device


class FlaxEngine:
    """An `Engine` on JAX; towers are compiled, anew for each number of images or texts, and some lengths of these."""

    def __init__(self, model: FlaxCLIPModel, device: str, place: Any = None) -> None:
        self.model, self.device, self.place = model, device, place
        self.dtype = model.dtype.name
        self._image_features = jax.jit(FlaxCLIPModel.get_image_features)
        self._text_features = jax.jit(FlaxCLIPModel.get_text_features)

    @classmethod
    def open(cls, directory: Path, device: str | None, dtype: str) -> Self:
        devices = _devices()
        device = choose_device(device, devices)
        with jax.default_device(devices[device]):
            return cls(FlaxCLIPModel.from_directory(directory, dtype=dtype), device, devices[device])

    @classmethod
    def of(cls, model: FlaxCLIPModel) -> Self:
        place = model.device
        one = isinstance(place, jax.Device)
        return cls(model, f"{place.platform}:{place.id}" if one else str(place), place if one else None)

    def image_features(self, pixel_values: NDArray[np.float32]) -> Vectors:
        with self._on_device():
            return _array(self._image_features(self.model, np.asarray(pixel_values)))

    def text_features(self, input_ids: NDArray[Any], attention_mask: NDArray[Any] | None) -> Vectors:
        with self._on_device():
            length = rounded_up(input_ids.shape[1], self.model.config.text_config.max_position_embeddings)
            mask = None if attention_mask is None else _widened(attention_mask, length)
            return _array(self._text_features(self.model, _widened(input_ids, length), mask))

    def logit_scale(self) -> np.float32:
        return np.float32(self.model.logit_scale[...])

    def _on_device(self) -> Any:
        return nullcontext() if self.place is None else jax.default_device(self.place)


def _widened(array: NDArray[Any], length: int) -> NDArray[np.int32]:
    """``[text, token]`` with zeros up to a length."""
    return np.pad(array.astype(np.int32), ((0, 0), (0, length - array.shape[1])))


def _array(array: jax.Array) -> NDArray[np.float32]:
    return np.asarray(array, np.float32)


def _devices() -> dict[str, Any]:
    """By their names, JAX's default first."""
    return {f"{device.platform}:{device.id}": device for device in [*jax.devices(), *jax.devices("cpu")]}
