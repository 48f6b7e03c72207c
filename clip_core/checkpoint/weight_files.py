"""The files that a checkpoint directory keeps its weights in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.switch import is_placed, placed
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
WEIGHTS = (SINGLE_FILE, INDEX_FILE, "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where weights are looked for, in this order."""


def weights_file(directory: Path) -> Path | None:
    """The file of weights, or the index of their shards, if there is one."""
    return next((directory / name for name in WEIGHTS if is_placed(directory / name)), None)


def missing_shards(index: Path) -> list[str]:
    """Names of the shards of an index that are not beside it; that of the index itself, if it is broken."""
    try:
        weight_map = read_json(placed(index)).get("weight_map")
        if not isinstance(weight_map, dict):
            return [index.name]
        listed = [entry if isinstance(entry, list) else [entry] for entry in weight_map.values()]  # Keras lists files
        names = {str(name) for entry in listed for name in entry}
        return sorted(name for name in names if not is_placed(index.parent / name))
    except OSError:  # also names that no file can have
        return [index.name]


@dataclass(frozen=True)
class WeightSources:
    """The opened files of a directory's weights; nothing of them has been read yet, but for an index.

    Attributes:
        path: the file, or the index of shards.
        files: by their names.
        weight_map: the index: in which file each weight lies; ``None`` where there is none.
    """

    path: Path
    files: Mapping[str, SourceFile]
    weight_map: Mapping[str, str] | None = None


def open_weights(directory: Path) -> WeightSources:
    """Opens the file of a directory's weights, or all shards.

    Raises:
        CheckpointNotFoundError: it holds none, or a shard of the index is missing.
        CheckpointFormatError: the index is malformed.
    """
    path = weights_file(directory)
    if path is None:
        raise CheckpointNotFoundError(_no_weights_message(directory))
    if path.suffix != ".json":
        return WeightSources(path, {path.name: SourceFile(path)})
    weight_map = read_json(placed(path)).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        raise CheckpointFormatError(f"{path}: expected a 'weight_map' from weight name to file name.")
    names = sorted(set(weight_map.values()))
    outside = [name for name in names if Path(name).name != name or len(name) > 255]
    if outside:
        raise CheckpointFormatError(f"{path}: expected file names in the same directory, got {outside[0][:100]!r}.")
    missing = [name for name in names if not is_placed(directory / name)]
    if missing:
        raise CheckpointNotFoundError(f"{path} names shards that are not there: {', '.join(missing)}.")
    return WeightSources(path, {name: SourceFile(directory / name) for name in names}, weight_map)


def _no_weights_message(directory: Path) -> str:
    foreign = ("open_clip*.bin", "*.h5", "*.msgpack", "*.pt", "*.ckpt", "open_clip_*.safetensors")
    others = sorted(file.name for pattern in foreign for file in directory.glob(pattern))
    hint = f"It holds {', '.join(others)}: convert that with `triclip convert`." if others else "Fetch it whole."
    return f"{directory}: expected {SINGLE_FILE}, pytorch_model.bin or an index of shards, found none. {hint}"
