"""The front door: `triclip.load` gives an `Encoder` of images and texts, in any backend; and the `triclip` command.

Names are imported when they are first used, so that ``import triclip`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triclip.encoder import Encoder, load

    __version__: str

__all__ = ["Encoder", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from triclip.version import version

        return version()
    if name not in __all__:
        raise AttributeError(f"module 'triclip' has no attribute {name!r}")
    from triclip import encoder

    return getattr(encoder, name)


def __dir__() -> list[str]:
    return __all__
