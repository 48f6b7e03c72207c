"""CLIP for JAX and Flax NNX."""

from clip_core.errors import MissingExtraError

try:
    import flax
    import jax  # noqa: F401 - asked for here, where its absence gets a clear error
except ModuleNotFoundError as error:
    if error.name not in ("flax", "jax"):
        raise
    raise MissingExtraError(error.name, "flax", "clip_flax") from None

from clip_flax.model import FlaxCLIPModel
from clip_flax.text import FlaxCLIPTextModel, FlaxCLIPTextModelWithProjection
from clip_flax.vision import FlaxCLIPVisionModel, FlaxCLIPVisionModelWithProjection

__all__ = [
    "FlaxCLIPModel",
    "FlaxCLIPTextModel",
    "FlaxCLIPTextModelWithProjection",
    "FlaxCLIPVisionModel",
    "FlaxCLIPVisionModelWithProjection",
]
