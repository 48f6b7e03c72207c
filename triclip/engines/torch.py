"""`clip_torch` for the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from clip_core.errors import InputError
from clip_torch import CLIPModel
from clip_torch.int8 import Int8Linear, to_int8
from triclip.engines import Vectors
from triclip.engines.devices import choose_device


class TorchEngine:
    """An `Engine` on PyTorch."""

    def __init__(self, model: CLIPModel, place: torch.device) -> None:
        self.model, self.place = model, place
        self.device = f"{place.type.replace('cuda', 'gpu')}:{place.index or 0}"
        is_int8 = any(isinstance(module, Int8Linear) for module in model.modules())
        self.dtype = "int8" if is_int8 else str(model.dtype).removeprefix("torch.")

    @classmethod
    def open(cls, directory: Path, device: str | None, dtype: str) -> Self:
        if dtype == "int8":
            return cls._open_int8(directory, device)
        chosen = choose_device(device, _devices()).replace("gpu", "cuda")
        place = torch.device("cpu" if chosen == "cpu:0" else chosen)  # moved to "cpu:0", weights would be copied
        return cls(CLIPModel.from_directory(directory, dtype=dtype).to(place), place)

    @classmethod
    def _open_int8(cls, directory: Path, device: str | None) -> Self:
        chosen = "cpu:0" if device is None else choose_device(device, _devices())
        if chosen != "cpu:0":
            raise InputError(f"dtype: int8 is computed on a CPU, got device {device!r}. There, say dtype='bfloat16'.")
        model = CLIPModel.from_directory(directory)
        to_int8(model)
        return cls(model, torch.device("cpu"))

    @classmethod
    def of(cls, model: Any) -> Self:
        model = model.as_own() if hasattr(model, "as_own") else model  # of clip_torch.hf
        if model.training and model.config.text_config.attention_dropout:
            raise InputError("model: expected one in evaluation mode, got one that drops at random. Call model.eval().")
        return cls(model, model.device)

    def image_features(self, pixel_values: NDArray[np.float32]) -> Vectors:
        with torch.inference_mode():
            return _array(self.model.get_image_features(self._tensor(pixel_values)))

    def text_features(self, input_ids: NDArray[Any], attention_mask: NDArray[Any] | None) -> Vectors:
        with torch.inference_mode():
            mask = None if attention_mask is None else self._tensor(attention_mask)
            return _array(self.model.get_text_features(self._tensor(input_ids), mask))

    def logit_scale(self) -> np.float32:
        return np.float32(self.model.logit_scale.item())

    def _tensor(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.tensor(array, device=self.place)


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = tensor.float().cpu().numpy()
    return values


def _devices() -> list[str]:
    """GPUs first; Apple's is used only when it is asked for."""
    gpus = [f"gpu:{number}" for number in range(torch.cuda.device_count())]
    return [*gpus, "cpu:0", *(["mps:0"] if torch.backends.mps.is_available() else [])]
