"""The framework-free core of Triclip: configurations, tokenizers, image processor, errors and weight table.

Names are imported when they are first used, so that ``import clip_core`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clip_core.checkpoint.locating import resolve_checkpoint
    from clip_core.checks import validate_inputs
    from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
    from clip_core.errors import (
        BackendError,
        CheckpointError,
        CheckpointFormatError,
        CheckpointNotFoundError,
        CLIPError,
        ConfigError,
        ImageError,
        InputError,
        InputTypeError,
        MissingExtraError,
        NonFiniteError,
        WeightMismatchError,
    )
    from clip_core.image.loading import load_image
    from clip_core.image.processor import CLIPFeatureExtractor, CLIPImageProcessor
    from clip_core.processor import CLIPProcessor
    from clip_core.tokenizer.clip import CLIPTokenizer
    from clip_core.tokenizer.fast import CLIPTokenizerFast

__all__ = [
    "BackendError",
    "CLIPConfig",
    "CLIPError",
    "CLIPFeatureExtractor",
    "CLIPImageProcessor",
    "CLIPProcessor",
    "CLIPTextConfig",
    "CLIPTokenizer",
    "CLIPTokenizerFast",
    "CLIPVisionConfig",
    "CheckpointError",
    "CheckpointFormatError",
    "CheckpointNotFoundError",
    "ConfigError",
    "ImageError",
    "InputError",
    "InputTypeError",
    "MissingExtraError",
    "NonFiniteError",
    "WeightMismatchError",
    "load_image",
    "resolve_checkpoint",
    "validate_inputs",
]

_MODULES = {
    "config": ("CLIPConfig", "CLIPTextConfig", "CLIPVisionConfig"),
    "tokenizer.clip": ("CLIPTokenizer",),
    "tokenizer.fast": ("CLIPTokenizerFast",),
    "image.processor": ("CLIPImageProcessor", "CLIPFeatureExtractor"),
    "image.loading": ("load_image",),
    "processor": ("CLIPProcessor",),
    "checkpoint.locating": ("resolve_checkpoint",),
    "checks": ("validate_inputs",),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'clip_core' has no attribute {name!r}")
    return getattr(import_module(f"clip_core.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
