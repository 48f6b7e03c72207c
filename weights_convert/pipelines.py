"""Pipelines of diffusers: directories with ``model_index.json``, whose folders hold a model or a tokenizer each."""

from __future__ import annotations

from pathlib import Path

from clip_core.checkpoint.files import read_json
from clip_core.errors import CheckpointError
from weights_convert.companions import HUGGING_FACE_CONFIG, MODEL_TYPES

_INDEX = "model_index.json"


def clip_folders(directory: Path) -> list[Path]:
    """The folders of a pipeline that hold a CLIP or a tower of one; none where the directory is no pipeline."""
    if not (directory / _INDEX).is_file():
        return []
    return [config.parent for config in sorted(directory.glob(f"*/{HUGGING_FACE_CONFIG.name}")) if _is_of_clip(config)]


def _is_of_clip(config: Path) -> bool:
    try:
        found = read_json(config).get("model_type")
    except CheckpointError:  # of the folder of another model, which is nobody's concern here
        return False
    return isinstance(found, str) and found in MODEL_TYPES


def tokenizer_folder(text_encoder: Path) -> Path | None:
    """Where a pipeline keeps the tokenizer of a text encoder: ``tokenizer_2`` beside ``text_encoder_2``."""
    text_encoder = text_encoder.absolute()  # the working directory has no name as "."
    if "text_encoder" not in text_encoder.name or not (text_encoder.parent / _INDEX).is_file():
        return None
    folder = text_encoder.with_name(text_encoder.name.replace("text_encoder", "tokenizer"))
    return folder if folder.is_dir() and not folder.is_symlink() else None
