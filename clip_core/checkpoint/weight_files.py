"""The files that a checkpoint directory keeps its weights in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.switch import is_placed, placed
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, InputTypeError

CONFIG_FILE = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
_STEMS = {".safetensors": "model", ".bin": "pytorch_model"}


@dataclass(frozen=True, kw_only=True)
class WeightChoice:
    """Which weights of a checkpoint are read, where it has several.

    Attributes:
        variant: the weights whose files have this in their names, as ``model.fp16.safetensors`` has ``fp16``; there is
            no falling back to others, which would be of another precision.
        use_safetensors: only these, if true, only ``pytorch_model.bin``, if false; otherwise what is there, the former
            first.
    """

    variant: str | None = None
    use_safetensors: bool | None = None

    def __post_init__(self) -> None:
        if self.variant is not None and not (isinstance(self.variant, str) and re.fullmatch(r"[\w-]+", self.variant)):
            raise InputTypeError(f"variant: expected a word such as 'fp16', got {self.variant!r:.60}.")
        if self.use_safetensors not in (None, True, False):
            raise InputTypeError(f"use_safetensors: expected True, False or None, got {self.use_safetensors!r:.60}.")

    @property
    def names(self) -> tuple[str, ...]:
        """Where weights are looked for, in this order: a file, or the index of shards."""
        part = f".{self.variant}" if self.variant else ""
        names = [
            name
            for suffix, stem in _STEMS.items()
            if self.use_safetensors in (None, suffix == ".safetensors")
            for name in (f"{stem}{part}{suffix}", f"{stem}{suffix}.index{part}.json")
        ]
        return tuple(names)

    def shards(self, index: str) -> tuple[str, ...]:
        """Patterns of the names of the shards of an index."""
        suffix = ".bin" if ".bin." in index else ".safetensors"
        part = f".{self.variant}" if self.variant else ""
        plain = f"{_STEMS[suffix]}-*{part}{suffix}"
        return (plain, f"{_STEMS[suffix]}{part}-*{suffix}") if part else (plain,)


ANY_WEIGHTS = WeightChoice()
"""What there is, of no variant."""


def weights_file(directory: Path, choice: WeightChoice = ANY_WEIGHTS) -> Path | None:
    """The file of weights, or the index of their shards, if there is one."""
    return next((directory / name for name in choice.names if is_placed(directory / name)), None)


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


def open_weights(directory: Path, choice: WeightChoice = ANY_WEIGHTS) -> WeightSources:
    """Opens the file of a directory's weights, or all shards.

    Raises:
        CheckpointNotFoundError: it holds none, or a shard of the index is missing.
        CheckpointFormatError: the index is malformed.
    """
    path = weights_file(directory, choice)
    if path is None:
        raise CheckpointNotFoundError(_no_weights_message(directory, choice))
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


def _no_weights_message(directory: Path, choice: WeightChoice) -> str:
    files = ", ".join(name for name in choice.names if not name.endswith(".json"))
    return f"{directory}: expected {files} or an index of shards, found none. {_hint(directory, choice)}"


def _hint(directory: Path, choice: WeightChoice) -> str:
    if choice != ANY_WEIGHTS:
        own = [f"{stem}*{suffix}" for suffix, stem in _STEMS.items()]
        there = sorted(file.name for pattern in own for file in directory.glob(pattern))
        held = f"It holds {', '.join(there[:5])}. " if there else ""
        return f"{held}Change or leave out variant= and use_safetensors=."
    foreign = ("open_clip*.bin", "*.h5", "*.msgpack", "*.pt", "*.ckpt", "open_clip_*.safetensors")
    others = sorted(file.name for pattern in foreign for file in directory.glob(pattern))
    if others:
        return f"It holds {', '.join(others)}: convert that with `triclip convert`."
    variants = sorted(file.name for file in directory.glob("model.*.safetensors"))
    return f"It holds {variants[0]}: say variant={variants[0].split('.')[1]!r}." if variants else "Fetch it whole."
