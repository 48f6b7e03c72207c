"""Arithmetic of the vectors that engines give out, in NumPy: so little of it that no framework is asked.

Values that are too large become infinities here without a warning; `triclip.finite` says what made them so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from triclip.engines import Vectors


def unit_length(embeds: Vectors) -> Vectors:
    """Vectors ``[batch, embed]`` divided by their length, as in the models."""
    with np.errstate(all="ignore"):
        unit: Vectors = embeds / np.sqrt(np.square(embeds).sum(axis=-1, keepdims=True))
    return unit


def scaled_cosines(text_embeds: Vectors, image_embeds: Vectors, logit_scale: np.float32) -> NDArray[np.float32]:
    """Logits ``[image, text]`` of unit vectors, as in the models: their cosines times ``exp(logit_scale)``."""
    with np.errstate(all="ignore"):
        logits: NDArray[np.float32] = image_embeds @ text_embeds.T * np.exp(logit_scale)
    return logits
