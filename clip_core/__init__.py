"""The framework-free core of Triclip: configurations, tokenizers, image processor and weight table.

Names are imported when they are first used, so that ``import clip_core`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
    from clip_core.image_processor import CLIPFeatureExtractor, CLIPImageProcessor
    from clip_core.processor import CLIPProcessor
    from clip_core.tokenizer import CLIPTokenizer
    from clip_core.tokenizer_fast import CLIPTokenizerFast

_MODULE_OF = {
    "CLIPConfig": "config",
    "CLIPTextConfig": "config",
    "CLIPVisionConfig": "config",
    "CLIPTokenizer": "tokenizer",
    "CLIPTokenizerFast": "tokenizer_fast",
    "CLIPImageProcessor": "image_processor",
    "CLIPFeatureExtractor": "image_processor",
    "CLIPProcessor": "processor",
}

__all__ = [
    "CLIPConfig",
    "CLIPFeatureExtractor",
    "CLIPImageProcessor",
    "CLIPProcessor",
    "CLIPTextConfig",
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "CLIPVisionConfig",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'clip_core' has no attribute {name!r}")
    return getattr(import_module(f"clip_core.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
