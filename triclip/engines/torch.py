"""`clip_torch` for the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clip_torch import CLIPModel
from clip_torch.model import unit_length
from triclip.engines import Vectors
from triclip.engines.devices import choose_device


class TorchEngine:
    """An `Engine` on PyTorch."""

    def __init__(self, directory: Path, device: str | None, dtype: str) -> None:
        self.device = choose_device(device, _devices())
        self.place = torch.device(self.device.replace("gpu", "cuda"))
        self.model = CLIPModel.from_directory(directory, dtype=dtype).to(self.place)
        self.dtype = str(self.model.dtype).removeprefix("torch.")

    def image_features(self, pixel_values: NDArray[np.float32]) -> Vectors:
        with torch.inference_mode():
            return _array(self.model.get_image_features(self._tensor(pixel_values)))

    def text_features(self, input_ids: NDArray[Any], attention_mask: NDArray[Any]) -> Vectors:
        with torch.inference_mode():
            return _array(self.model.get_text_features(self._tensor(input_ids), self._tensor(attention_mask)))

    def unit_length(self, embeds: Vectors) -> Vectors:
        with torch.inference_mode():
            return _array(unit_length(self._tensor(embeds)))

    def logits(self, text_embeds: Vectors, image_embeds: Vectors) -> NDArray[np.float32]:
        with torch.inference_mode():
            return _array(self.model.logits(self._tensor(text_embeds), self._tensor(image_embeds)))

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.tensor(array, device=self.place)


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tensor.float().cpu().numpy()
    return values


def _devices() -> list[str]:
    """GPUs first; Apple's is used only when it is asked for."""
    gpus = [f"gpu:{number}" for number in range(torch.cuda.device_count())]
    return [*gpus, "cpu:0", *(["mps:0"] if torch.backends.mps.is_available() else [])]
