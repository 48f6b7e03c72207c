"""Reading checkpoint directories in the Hugging Face layout: ``config.json`` and ``model.safetensors``, or shards.

Files are opened together and read, a weight at a time, from what was opened; ``pytorch_model.bin``, the older form of
the weights, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from clip_core.checkpoint.lazy_weights import LazyWeights, common_dtype
from clip_core.checkpoint.safetensors_file import SafetensorsFile
from clip_core.checkpoint.sources import Fingerprints, SourceFile, changed
from clip_core.checkpoint.switch import JOURNAL
from clip_core.checkpoint.tensors import Tensor
from clip_core.checkpoint.torch_file import read_torch_file
from clip_core.checkpoint.weight_files import (
    ANY_WEIGHTS,
    CONFIG_FILE,
    WeightChoice,
    WeightSources,
    open_weights,
)
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, CLIPError
from clip_core.initialization import draw_weight
from clip_core.weights import WeightSpec, match_weights, weight_specs

_ATTEMPTS, _PAUSE = 9, 0.001  # seconds, doubled every time: half a second, in which any saver has made its renames


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
