"""The files that a checkpoint directory keeps its weights in."""

from __future__ import annotations

from pathlib import Path

from clip_core.checkpoint.files import read_json

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
WEIGHTS = (SINGLE_FILE, INDEX_FILE, "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where weights are looked for, in this order."""


def weights_file(directory: Path) -> Path | None:
    """The file of weights, or the index of their shards, if there is one."""
    return next((directory / name for name in WEIGHTS if (directory / name).is_file()), None)


def has_whole_weights(directory: Path) -> bool:
    """Whether there are weights and, if they are in shards, all of these."""
    path = weights_file(directory)
    if path is None or path.suffix != ".json":
        return path is not None
    try:
        shards = read_json(path).get("weight_map")
        return isinstance(shards, dict) and all((directory / str(file)).is_file() for file in shards.values())
    except OSError:  # also a broken index, and names that no file can have
        return False
