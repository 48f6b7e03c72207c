"""CLIP for JAX and Flax NNX."""

from clip_core.errors import MissingExtraError

try:
    import flax  # noqa: F401 - both asked for here, where their absence gets a clear error
    import jax  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("flax", "jax"):
        raise
    raise MissingExtraError(error.name, "flax", "clip_flax") from None

from clip_flax.classification import FlaxCLIPForImageClassification, classification_loss
from clip_flax.linen import (
    FlaxCLIPModule,
    FlaxCLIPTextModelWithProjectionModule,
    FlaxCLIPTextModule,
    FlaxCLIPVisionModelWithProjectionModule,
    FlaxCLIPVisionModule,
)
from clip_flax.model import FlaxCLIPModel, contrastive_loss
from clip_flax.text import FlaxCLIPTextModel, FlaxCLIPTextModelWithProjection, FlaxCLIPTextPreTrainedModel
from clip_flax.vision import FlaxCLIPVisionModel, FlaxCLIPVisionModelWithProjection, FlaxCLIPVisionPreTrainedModel
from clip_flax.weights import FlaxCLIPPreTrainedModel

__all__ = [
    "FlaxCLIPForImageClassification",
    "FlaxCLIPModel",
    "FlaxCLIPModule",
    "FlaxCLIPPreTrainedModel",
    "FlaxCLIPTextModel",
    "FlaxCLIPTextModelWithProjection",
    "FlaxCLIPTextModelWithProjectionModule",
    "FlaxCLIPTextModule",
    "FlaxCLIPTextPreTrainedModel",
    "FlaxCLIPVisionModel",
    "FlaxCLIPVisionModelWithProjection",
    "FlaxCLIPVisionModelWithProjectionModule",
    "FlaxCLIPVisionModule",
    "FlaxCLIPVisionPreTrainedModel",
    "classification_loss",
    "contrastive_loss",
]
