"""The front door: `triclip.load` gives an `Encoder` of images and texts, in any backend; and the `triclip` command.

Names are imported when they are first used, so that ``import triclip`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triclip.encoder import Encoder, load
    from triclip.heads import ZeroShotHead
    from triclip.prompts import IMAGENET_LABELS, OPENAI_IMAGENET_TEMPLATES, SIMPLE_IMAGENET_TEMPLATES
    from triclip.zero_shot import build_zero_shot_classifier

    __version__: str

__all__ = [
    "IMAGENET_LABELS",
    "OPENAI_IMAGENET_TEMPLATES",
    "SIMPLE_IMAGENET_TEMPLATES",
    "Encoder",
    "ZeroShotHead",
    "__version__",
    "build_zero_shot_classifier",
    "load",
]

_MODULES = {
    "encoder": ("Encoder", "load"),
    "heads": ("ZeroShotHead",),
    "prompts": ("IMAGENET_LABELS", "OPENAI_IMAGENET_TEMPLATES", "SIMPLE_IMAGENET_TEMPLATES"),
    "zero_shot": ("build_zero_shot_classifier",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from triclip.version import version

        return version()
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'triclip' has no attribute {name!r}")
    return getattr(import_module(f"triclip.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
