"""CLIP for PyTorch."""

from clip_core.errors import MissingExtraError

try:
    import torch  # noqa: F401 - asked for here, where its absence gets a clear error
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise MissingExtraError(error.name, "torch", "clip_torch") from None

from clip_torch.classification import CLIPForImageClassification, classification_loss
from clip_torch.model import CLIPModel, contrastive_loss, gathered
from clip_torch.text import CLIPTextModel, CLIPTextModelWithProjection
from clip_torch.vision import CLIPVisionModel, CLIPVisionModelWithProjection

__all__ = [
    "CLIPForImageClassification",
    "CLIPModel",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPVisionModel",
    "CLIPVisionModelWithProjection",
    "classification_loss",
    "contrastive_loss",
    "gathered",
]
