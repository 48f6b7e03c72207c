"""Writing checkpoint directories in the Hugging Face layout: ``config.json`` and ``model.safetensors``, or shards.

Writing goes to temporary names, and all files of a save take their places at one moment, so that a save killed at any
moment leaves the old checkpoint or the new one, whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.lazy_weights import common_dtype, layout_of
from clip_core.checkpoint.safetensors_file import write_safetensors
from clip_core.checkpoint.switch import FileSwitch, finish_switch, is_saved_name
from clip_core.checkpoint.weight_files import CONFIG_FILE, INDEX_FILE, SINGLE_FILE
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputError
from clip_core.weights import Layout

DEFAULT_MAX_SHARD_SIZE = "5GB"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def save_checkpoint(
    directory: str | PathLike[str],
    config: CLIPConfig | CLIPTextConfig | CLIPVisionConfig,
    weights: Mapping[str, NDArray[Any]],
    *,
    architecture: str,
    max_shard_size: int | str = DEFAULT_MAX_SHARD_SIZE,
) -> None:
    """Writes ``config.json`` and the weights; other files in the directory stay.

    Args:
        directory: made if it is not there.
        config: written with ``architectures`` and ``dtype``.
        weights: name in the shared scheme to array; read one at a time.
        architecture: name of the model's class in transformers (the PyTorch one), for its auto classes.
        max_shard_size: bytes, or a text such as ``"2GB"``; more than that is split into shards.
    """
    directory = Path(directory)
    if directory.is_file():
        raise InputError(f"{directory} is a file; expected a directory to save the checkpoint in.")
    directory.mkdir(parents=True, exist_ok=True)
    layout = layout_of(weights)
    shards = plan_shards(layout, parse_size(max_shard_size))
    finish_switch(directory)
    files = [SINGLE_FILE] if len(shards) == 1 else _shard_names(directory, len(shards))
    with FileSwitch(directory) as switch:
        for file, names in zip(files, shards, strict=True):
            part = {name: layout[name] for name in names}
            write_safetensors(switch.write(file), part, _in_order(part, weights), {"format": "pt"})
        switch.write(CONFIG_FILE).write_text(config_text(config, architecture, layout), encoding="utf-8")
        if len(shards) > 1:
            switch.write(INDEX_FILE).write_text(_index_text(files, shards, layout), encoding="utf-8")
        switch.remove(_weight_files(directory) - set(switch.renames.values()))


def config_text(config: CLIPConfig | CLIPTextConfig | CLIPVisionConfig, architecture: str, layout: Layout) -> str:
    """``config.json`` of a checkpoint, as transformers reads it too.

    Args:
        architecture: name of the model's class in transformers (the PyTorch one).
        layout: dtype and shape of the weights.
    """
    described = {**config.to_dict(), "architectures": [architecture], "dtype": common_dtype(layout)}
    described.pop("torch_dtype", None)
    return json.dumps(described, indent=2, sort_keys=True) + "\n"


def _index_text(files: list[str], shards: list[list[str]], layout: Layout) -> str:
    weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
    total = sum(int(np.prod(shape)) * dtype.itemsize for dtype, shape in layout.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    return json.dumps(index, indent=2) + "\n"


def _in_order(layout: Layout, weights: Mapping[str, NDArray[Any]]) -> Iterator[tuple[str, NDArray[Any]]]:
    return ((name, np.asarray(weights[name])) for name in layout)


def _shard_names(directory: Path, count: int) -> list[str]:
    """Names that the checkpoint in the directory does not use: who reads it meanwhile never gets a part of the new."""
    index = directory / INDEX_FILE
    used = set(read_json(index).get("weight_map", {}).values()) if index.exists() else set()
    stem = "model-a" if f"model-00001-of-{count:05d}.safetensors" in used else "model"
    return [f"{stem}-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _weight_files(directory: Path) -> set[str]:
    """Names of the files of weights, and of their index, as this module writes them."""
    return {file.name for file in directory.iterdir() if is_saved_name(file.name)} - {CONFIG_FILE}


def plan_shards(layout: Layout, max_bytes: int) -> list[list[str]]:
    """Names in groups, in order, none of more bytes than ``max_bytes`` but for single weights that are."""
    shards: list[list[str]] = [[]]
    size = 0
    for name, (dtype, shape) in layout.items():
        bytes_ = int(np.prod(shape)) * dtype.itemsize
        if shards[-1] and size + bytes_ > max_bytes:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += bytes_
    return shards


def parse_size(size: int | str) -> int:
    """Bytes of a size such as ``"5GB"``, ``"200MiB"`` or a plain number; 1 kB is 1000 bytes, 1 KiB 1024."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]I?)?B?", str(size).strip().upper())
    parsed = int(float(match[1]) * _UNITS[match[2] or ""]) if match else 0
    if parsed <= 0:
        raise InputError(f"max_shard_size: expected bytes above 0 or a text such as '2GB' or '500MB', got {size!r}.")
    return parsed
