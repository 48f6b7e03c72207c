"""What no shape tells of a model: heads, activation, and with a vocabulary that is not CLIP's where a text ends."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import ConfigError
from weights_convert.companions import CLIP_VOCABULARY_SIZE

TO_FILL_IN = "?"
"""No value of any field, so that what was not filled in is refused wherever it is read."""
_TOWER_TYPES = {"text_config": CLIPTextConfig.model_type, "vision_config": CLIPVisionConfig.model_type}
_WRITTEN_BY_LIBRARIES = frozenset(("transformers_version", "architectures"))


def _untold(sizes: Mapping[str, Any]) -> list[str]:
    if "stage_depths" in sizes:
        return ["num_attention_heads"]
    own_vocabulary = sizes.get("vocab_size", CLIP_VOCABULARY_SIZE) != CLIP_VOCABULARY_SIZE
    return ["num_attention_heads", "hidden_act", *(["eos_token_id"] if own_vocabulary else [])]


def config_to_fill_in(sizes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A ``config.json`` with the sizes of the towers, and `TO_FILL_IN` for what these do not tell."""
    towers = {
        name: {"model_type": _TOWER_TYPES[name], **found, **dict.fromkeys(_untold(found), TO_FILL_IN)}
        for name, found in sizes.items()
    }
    if len(towers) < 2:
        return next(iter(towers.values()), {})
    embed = {key: value for found in sizes.values() for key, value in found.items() if key == "projection_dim"}
    return {"model_type": CLIPConfig.model_type, **embed, **towers}


def check_told(described: Mapping[str, Any], path: Path, sizes: Mapping[str, Mapping[str, Any]]) -> None:
    """Looks whether a ``config.json`` that somebody wrote tells what the sizes of the towers do not.

    What a library writes may leave out the defaults of its classes; from what a person writes it was forgotten.

    Raises:
        ConfigError: it does not.
    """
    if described.keys() & _WRITTEN_BY_LIBRARIES:
        return
    of_tower = described.get("model_type") in _TOWER_TYPES.values()
    missing = []
    for name, found in sizes.items():
        tower = described if of_tower else described.get(name)
        told = tower if isinstance(tower, dict) else {}
        keys = [key for key in _untold(found) if told.get(key) in (None, TO_FILL_IN)]
        missing += keys if of_tower else [f"{name}.{key}" for key in keys]
    if missing:
        raise ConfigError(
            f"{path}: does not say {', '.join(missing)}, which the shapes of the weights do not tell; wrong ones give "
            "wrong answers without an error. Write them into it."
        )
