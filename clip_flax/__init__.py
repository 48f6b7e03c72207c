"""CLIP for JAX and Flax NNX."""

from importlib.util import find_spec

from clip_core.errors import MissingExtraError

for _package in ("jax", "flax"):
    if find_spec(_package) is None:
        raise MissingExtraError(_package, "flax", "clip_flax")

from clip_flax.model import FlaxCLIPModel  # noqa: E402  # after the check for what they import
from clip_flax.text import FlaxCLIPTextModel, FlaxCLIPTextModelWithProjection  # noqa: E402
from clip_flax.vision import FlaxCLIPVisionModel, FlaxCLIPVisionModelWithProjection  # noqa: E402

__all__ = [
    "FlaxCLIPModel",
    "FlaxCLIPTextModel",
    "FlaxCLIPTextModelWithProjection",
    "FlaxCLIPVisionModel",
    "FlaxCLIPVisionModelWithProjection",
]
