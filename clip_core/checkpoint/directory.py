"""Checkpoint directories in the Hugging Face layout: ``config.json`` and ``model.safetensors``, or shards and an index.

Files are opened together and read, a weight at a time, from what was opened; ``pytorch_model.bin``, the older form of
the weights, too. Writing goes to temporary names, and all files of a save take their places at one moment, so that a
save killed at any moment leaves the old checkpoint or the new one, whole.
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.mapping import MappedFiles, mapped
from clip_core.checkpoint.safetensors_file import SafetensorsFile, write_safetensors
from clip_core.checkpoint.sources import Fingerprints, SourceFile, changed
from clip_core.checkpoint.switch import JOURNAL, FileSwitch, finish_switch, is_saved_name
from clip_core.checkpoint.tensors import DType, Tensor
from clip_core.checkpoint.torch_file import read_torch_file
from clip_core.checkpoint.weight_files import (
    ANY_WEIGHTS,
    INDEX_FILE,
    SINGLE_FILE,
    WeightChoice,
    WeightSources,
    open_weights,
)
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, CLIPError, InputError, InputTypeError
from clip_core.initialization import draw_weight
from clip_core.weights import Layout, WeightSpec, match_weights, weight_specs

DEFAULT_MAX_SHARD_SIZE = "5GB"
CONFIG_FILE = "config.json"
_ATTEMPTS, _PAUSE = 9, 0.001  # seconds, doubled every time: half a second, in which any saver has made its renames
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


class LazyWeights(Mapping[str, NDArray[Any]]):
    """Weights by name that are read when they are asked for."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = tensors

    def tensor(self, name: str) -> Tensor:
        """Dtype and shape of a weight, without touching its data."""
        return self._tensors[name]

    def layout(self) -> Layout:
        """Dtype and shape of every weight."""
        return {name: (tensor.dtype, tensor.shape) for name, tensor in self._tensors.items()}

    def mapped(self, dtype: DType) -> tuple[LazyWeights, MappedFiles]:
        """The weights, those of a dtype in mappings of their files where that can be, and these files."""
        tensors, files = mapped(self._tensors, dtype)
        return LazyWeights(tensors), files

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def lazy_weights(weights: Mapping[str, Any], names: Mapping[str, str]) -> LazyWeights:
    """Weights in memory, which `layout_of` has passed, under other names: from new name to name."""
    found = {new: weights[name] for new, name in names.items()}
    return LazyWeights(
        {new: Tensor(value.dtype, tuple(value.shape), partial(np.asarray, value)) for new, value in found.items()}
    )


def layout_of(weights: Mapping[str, Any]) -> Layout:
    """Dtype and shape of weights in memory or in a checkpoint.

    Raises:
        InputTypeError: not a mapping from names to arrays of NumPy or JAX.
    """
    if isinstance(weights, LazyWeights):
        return weights.layout()
    if not isinstance(weights, Mapping):
        raise InputTypeError(
            f"weights: expected a mapping from names to NumPy arrays, got {type(weights).__name__}. "
            "Pass a dict, such as dict(model.named_weights())."
        )
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(getattr(value, "dtype", None), np.dtype):
            raise InputTypeError(
                f"weights: expected names with NumPy arrays, got {type(value).__name__} for {name!r}. "
                "Convert it to a NumPy array."
            )
    return {name: (value.dtype, tuple(value.shape)) for name, value in weights.items()}


class StoredWeights(LazyWeights):
    """The weights of a checkpoint directory, under their stored names, read from files that stay open.

    These are safetensors files or, where there are none, ``pytorch_model.bin``, which is read without executing any of
    it; both in one piece or in shards. The files are closed when neither this nor one of its tensors is referred to.

    Args:
        directory: the checkpoint.
        sources: its files, if they are open already.

    Raises:
        CheckpointNotFoundError: the directory holds neither, or a shard of the index is missing.
        CheckpointFormatError: a file is corrupt, or index and shards disagree.
    """

    def __init__(self, directory: Path, sources: WeightSources | None = None) -> None:
        opened = open_weights(directory) if sources is None else sources
        files = {name: _tensors(source) for name, source in opened.files.items()}
        if opened.weight_map is None:
            super().__init__(files[opened.path.name])
            return
        _check_index(opened.path, opened.weight_map, files)
        super().__init__({name: files[file][name] for name, file in opened.weight_map.items()})


def _tensors(source: SourceFile) -> Mapping[str, Tensor]:
    if source.path.suffix == ".safetensors":
        return SafetensorsFile(source).tensors
    return read_torch_file(source)[0]


def _check_index(index: Path, weight_map: Mapping[str, str], files: Mapping[str, Mapping[str, Tensor]]) -> None:
    listed = {(name, file) for name, file in weight_map.items()}
    held = {(name, file) for file, tensors in files.items() for name in tensors}
    for name, file in sorted(listed ^ held):
        where = "the index only" if (name, file) in listed else "the file only"
        raise CheckpointFormatError(f"{index}: {name!r} of {file} is in {where}. Fetch or save the files again.")


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A configuration and its weights.

    Attributes:
        config: of the full model or of the tower that was asked for.
        weights: those of the configuration, by their names in the shared scheme, in the order of the weight table.
        sources: the files that the weights are read from.
        unused: the names of what else is stored there, such as another tower.
        new: the names of weights that are not stored there, but drawn: those of a classifier.
    """

    config: Any
    weights: LazyWeights
    sources: tuple[SourceFile, ...] = ()
    unused: tuple[str, ...] = ()
    new: tuple[str, ...] = ()

    @property
    def dtype(self) -> str:
        """The dtype that most bytes of the weights have."""
        return common_dtype(self.weights.layout())

    def check_unchanged(self) -> None:
        """Raises `CheckpointError` if weights were written over in their file; to be called when all have been read."""
        for source in self.sources:
            source.check_unchanged()


def load_checkpoint(
    directory: Path,
    config_class: type[CLIPConfig] | type[CLIPTextConfig] | type[CLIPVisionConfig],
    *,
    projection: bool = False,
    classifier: bool = False,
    new_classifier: bool = False,
    config: CLIPConfig | CLIPTextConfig | CLIPVisionConfig | None = None,
    changes: Mapping[str, Any] | None = None,
    choice: WeightChoice = ANY_WEIGHTS,
) -> LoadedCheckpoint:
    """Opens a checkpoint directory for a model class of any backend; no weights are read yet.

    Configuration and weights are those that lay there at one moment. Weights that are read later come from the files
    that were opened then, even if others have taken their names; see `LoadedCheckpoint.check_unchanged`.

    Of a save that was killed in the midst of its renames, the files are taken from where they lie.

    Args:
        config_class: what the model is made from; a tower takes its part of a full checkpoint.
        projection: whether a tower has its projection.
        classifier: whether the model is an image classifier.
        new_classifier: of a checkpoint without a classifier, draw its weights (seed 0).
        config: used instead of the checkpoint's ``config.json``.
        changes: fields of the configuration that shall have other values.
        choice: which weights are read, where there are several.

    Raises:
        CheckpointNotFoundError, CheckpointFormatError, ConfigError: as the parts raise them.
        CheckpointError: the checkpoint is replaced faster than it can be opened.
        WeightMismatchError: the weights are not those of the configuration, or quantised.
    """

    def open_files() -> tuple[Any, WeightSources]:
        found = config_class.from_directory(directory) if config is None else config
        return found.changed(changes or {}), open_weights(directory, choice)

    config_, sources = _opened_together(directory, open_files, choice)
    stored = StoredWeights(directory, sources)
    specs = weight_specs(config_, projection=projection, classifier=classifier)
    drawn = drawn_classifier(specs, stored, config_) if new_classifier else {}
    names = match_weights(tuple(spec for spec in specs if spec.name not in drawn), stored.layout(), str(directory))
    found = {spec.name: stored.tensor(names[spec.name]).reshaped(spec.shape) for spec in specs if spec.name in names}
    unused = tuple(sorted(set(stored) - set(names.values())))
    sources_ = tuple(sources.files.values())
    return LoadedCheckpoint(config_, LazyWeights({**found, **drawn}), sources_, unused, tuple(drawn))


def drawn_classifier(specs: Iterable[WeightSpec], stored: Iterable[str], config: Any) -> dict[str, Tensor]:
    """A classifier of drawn weights, where none of it is stored."""
    names = set(stored)
    head = [spec for spec in specs if spec.path == "classifier"]
    if any(spec.name in names for spec in head):
        return {}
    float32 = np.dtype(np.float32)
    return {spec.name: Tensor(float32, spec.shape, partial(draw_weight, spec, config, 0), fresh=True) for spec in head}


def _opened_together(
    directory: Path, open_files: Callable[[], tuple[Any, WeightSources]], choice: WeightChoice
) -> tuple[Any, WeightSources]:
    """What ``open_files`` gives, at a moment at which all that it opens lay in the directory.

    A save could come between the first file and the last: then they are opened once more. No file can come back
    unnoticed, for an inode that is open is given to no other file.
    """
    for attempt in range(_ATTEMPTS):
        seen = Fingerprints(directory / name for name in (JOURNAL, CONFIG_FILE, *choice.names))
        try:
            config, sources = open_files()
        except CLIPError:
            if not seen.changed():
                raise
        else:
            seen.add(sources.files.values())
            if not seen.changed():
                return config, sources
        time.sleep(_PAUSE * 2**attempt)
    raise changed(directory)


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


def common_dtype(layout: Layout) -> str:
    """The dtype that most bytes have, as ``config.json`` names it."""
    sizes: defaultdict[str, int] = defaultdict(int)
    for dtype, shape in layout.values():
        sizes[dtype.name] += int(np.prod(shape)) * dtype.itemsize
    return max(sizes, key=lambda name: sizes[name])
