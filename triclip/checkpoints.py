"""What is looked at before a checkpoint is loaded."""

from __future__ import annotations

import shlex
from pathlib import Path

from clip_core.config import CLIPVisionConfig
from clip_core.errors import CheckpointNotFoundError, ConfigError
from clip_core.image.processor import CLIPImageProcessor

_FOREIGN_FILES = ("open_clip_config.json", "*.pt", "*.ckpt", "*.h5", "*.msgpack", "*.safetensors", "*.bin")


def check_native(directory: Path) -> None:
    """Raises `CheckpointNotFoundError`, with the command to convert it, for a directory of another format."""
    if (directory / "config.json").exists():
        return
    foreign = sorted(file.name for pattern in _FOREIGN_FILES for file in directory.glob(pattern))
    if foreign:
        raise CheckpointNotFoundError(
            f"{directory}: has no config.json, but {foreign[0]}, so it is a checkpoint of another format. "
            f"Convert it: triclip convert {shlex.quote(str(directory))} NEW_DIRECTORY --to hf"
        )


def check_sizes(processor: CLIPImageProcessor, config: CLIPVisionConfig) -> None:
    """Raises `ConfigError` if the processor makes pictures of a size that is not the model's."""
    made = processor.crop_size if processor.do_center_crop else processor.size if processor.do_resize else {}
    side = config.image_size
    if "height" in made and (made["height"], made["width"]) != (side, side):
        raise ConfigError(
            f"preprocessor_config.json: expected pictures of {side} x {side} pixels, as config.json says of the model, "
            f"got {made['height']} x {made['width']}. Take both files from one checkpoint."
        )
