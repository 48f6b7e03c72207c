"""CLIP for Keras 3 on TensorFlow."""

from clip_core.errors import BackendError, MissingExtraError

try:
    import keras
    import tensorflow  # noqa: F401 - asked for here, where its absence gets a clear error
except ModuleNotFoundError as error:
    if error.name not in ("keras", "tensorflow"):
        raise
    raise MissingExtraError(error.name, "tf", "clip_tf") from None

if not keras.__version__.startswith("3."):
    raise BackendError(f"clip_tf: expected Keras 3, got {keras.__version__}. Run: pip install 'triclip[tf]'")
if keras.backend.backend() != "tensorflow":
    raise BackendError(
        f"clip_tf: expected Keras to run on TensorFlow, got its backend {keras.backend.backend()!r}. Set the "
        "environment variable KERAS_BACKEND=tensorflow before Keras is imported, or use clip_torch or clip_flax."
    )

import clip_tf.batches  # noqa: F401 - registers what the processor returns
from clip_tf.model import TFCLIPModel, contrastive_loss
from clip_tf.text import TFCLIPTextModel, TFCLIPTextModelWithProjection
from clip_tf.vision import TFCLIPVisionModel, TFCLIPVisionModelWithProjection

__all__ = [
    "TFCLIPModel",
    "TFCLIPTextModel",
    "TFCLIPTextModelWithProjection",
    "TFCLIPVisionModel",
    "TFCLIPVisionModelWithProjection",
    "contrastive_loss",
]
