"""CLIP for Keras 3, on TensorFlow, JAX or PyTorch: whichever Keras runs on."""

from clip_core.errors import BackendError, MissingExtraError

try:
    import keras
except ModuleNotFoundError as error:  # of Keras, or of the framework that it runs on
    extras = {"keras": "tf", "tensorflow": "tf", "jax": "flax", "torch": "torch"}
    missing = (error.name or "").partition(".")[0]
    if missing not in extras:
        raise
    raise MissingExtraError(missing, extras[missing], "clip_tf") from None

if not keras.__version__.startswith("3."):
    raise BackendError(f"clip_tf: expected Keras 3, got {keras.__version__}. Run: pip install 'triclip[tf]'")
if keras.backend.backend() not in ("tensorflow", "jax", "torch"):
    raise BackendError(
        "clip_tf: expected Keras to run on TensorFlow, JAX or PyTorch, got its backend "
        f"{keras.backend.backend()!r}. Set the environment variable KERAS_BACKEND to tensorflow, jax or torch before "
        "Keras is imported."
    )

import clip_tf.batches  # noqa: F401 - registers what the processor returns
from clip_tf.classification import TFCLIPForImageClassification, classification_loss
from clip_tf.model import TFCLIPModel, contrastive_loss
from clip_tf.objectives import InBatchRecall, ScaleLimit
from clip_tf.text import TFCLIPTextModel, TFCLIPTextModelWithProjection
from clip_tf.vision import TFCLIPVisionModel, TFCLIPVisionModelWithProjection

__all__ = [
    "InBatchRecall",
    "ScaleLimit",
    "TFCLIPForImageClassification",
    "TFCLIPModel",
    "TFCLIPTextModel",
    "TFCLIPTextModelWithProjection",
    "TFCLIPVisionModel",
    "TFCLIPVisionModelWithProjection",
    "classification_loss",
    "contrastive_loss",
]
