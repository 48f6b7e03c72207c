"""CLIP for PyTorch."""

from clip_torch.model import CLIPModel
from clip_torch.text import CLIPTextModel, CLIPTextModelWithProjection
from clip_torch.vision import CLIPVisionModel, CLIPVisionModelWithProjection

__all__ = [
    "CLIPModel",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPVisionModel",
    "CLIPVisionModelWithProjection",
]
