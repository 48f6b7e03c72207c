"""CLIP for ONNX Runtime: no framework, for inference only; and CLIP as ONNX files."""

from clip_core.errors import MissingExtraError

try:
    import onnxruntime  # noqa: F401 - asked for here, where its absence gets a clear error
except ModuleNotFoundError as error:
    if error.name != "onnxruntime":
        raise
    raise MissingExtraError(error.name, "onnx", "clip_onnx") from None

from clip_onnx.model import CLIPModel
from clip_onnx.text import CLIPTextModel, CLIPTextModelWithProjection
from clip_onnx.vision import CLIPVisionModel, CLIPVisionModelWithProjection

__all__ = [
    "CLIPModel",
    "CLIPTextModel",
    "CLIPTextModelWithProjection",
    "CLIPVisionModel",
    "CLIPVisionModelWithProjection",
]
