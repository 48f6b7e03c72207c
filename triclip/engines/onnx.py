"""`clip_onnx` for the encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from clip_onnx import CLIPModel
from triclip.engines import Vectors
from triclip.engines.devices import choose_device

_DEVICE = "cpu:0"


class ONNXEngine:
    """An `Engine` on ONNX Runtime, which computes on the CPU here."""

    def __init__(self, model: CLIPModel) -> None:
        self.model, self.device, self.dtype = model, _DEVICE, model.dtype

    @classmethod
    def open(cls, directory: Path, device: str | None, dtype: str) -> Self:
        choose_device(device, [_DEVICE])
        return cls(CLIPModel.from_directory(directory, dtype=dtype))

    @classmethod
    def of(cls, model: CLIPModel) -> Self:
        return cls(model)

    def image_features(self, pixel_values: NDArray[np.float32]) -> Vectors:
        return self.model.get_image_features(pixel_values)

    def text_features(self, input_ids: NDArray[Any], attention_mask: NDArray[Any] | None) -> Vectors:
        return self.model.get_text_features(input_ids, attention_mask)

    def logit_scale(self) -> np.float32:
        return np.float32(self.model.named_weights()["logit_scale"])
