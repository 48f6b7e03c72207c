"""The packages that some containers need, which come with the extra ``convert``."""

from __future__ import annotations

from importlib import import_module

from clip_core.errors import MissingExtraError

PACKAGES = {"hdf5": "h5py", "msgpack": "msgpack"}
"""By kind of container."""


def require_package(kind: str, purpose: str) -> None:
    """Raises `MissingExtraError`, whose message begins with ``purpose``, if a container's package is not installed."""
    if kind in PACKAGES:
        try:
            import_module(PACKAGES[kind])
        except ImportError:
            raise MissingExtraError(PACKAGES[kind], "convert", purpose) from None
