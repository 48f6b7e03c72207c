"""One digest for a model: of all that its numbers depend on, the same in every framework."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from typing import Any

import numpy as np

from clip_core.config import CLIPConfig
from clip_core.errors import WeightMismatchError
from weights_convert.hashing import Manifest

_WITHOUT_PART = {
    *("output_attentions", "output_hidden_states", "return_dict", "other_keys"),
    *("attention_dropout", "initializer_range", "initializer_factor", "pad_token_id", "bos_token_id"),
}
"""Fields of a tower's configuration that no vector depends on."""


def model_digest(model: Any) -> str:
    """SHA-256 over the weights as the model holds them and the settings that it computes with.

    A weight counts with its values in float32, or float64 if it has that: a checkpoint of bfloat16 is the same model
    loaded as float32, and one of float32 is another when it is rounded to bfloat16.

    Args:
        model: a CLIP model of any backend.

    Raises:
        WeightMismatchError: it computes with more or less than the weights of its configuration, as with an adapter.
    """
    try:
        model.check_saveable()
    except WeightMismatchError as error:
        raise WeightMismatchError(f"the model has no digest, since no checkpoint holds all of it. {error}") from None
    manifest = Manifest()
    for name, weight in model.named_weights().items():
        manifest.add(name, weight if weight.dtype.itemsize >= 4 else weight.astype(np.float32))
    settings = json.dumps(_settings(model.checked_config(model.config)), sort_keys=True)
    return hashlib.sha256(f"{manifest.digest()}\n{settings}".encode()).hexdigest()


def _settings(config: CLIPConfig) -> dict[str, Any]:
    """Where a field has its default it is left out, so that one that is new does not change the digests of before."""
    found = {}
    for name, tower in (("text_config", config.text_config), ("vision_config", config.vision_config)):
        default = type(tower)()
        for field in fields(tower):
            value = getattr(tower, field.name)
            if field.name not in _WITHOUT_PART and value != getattr(default, field.name):
                found[f"{name}.{field.name}"] = value
    return found
