"""Opening a checkpoint of any format: which file it is, which format, which model."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.checkpoint.sources import Fingerprints
from clip_core.checkpoint.switch import JOURNAL, is_placed
from clip_core.checkpoint.tensors import Tensor
from clip_core.config import CLIPConfig
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, CLIPError
from clip_core.published.contradictions import (
    config_differences,
    contradiction,
    preprocessing_differences,
    processor_of,
)
from clip_core.published.names import find_named
from clip_core.published.table import PublishedModel
from clip_core.weights import match_weights, weight_specs
from weights_convert.companion_files import rewritten
from weights_convert.companions import PREPROCESSOR, TOKENIZER, preprocessor_of, read_files, without_other_preprocessor
from weights_convert.configuration import find_config
from weights_convert.containers.opened import SUFFIXES, Container, open_container
from weights_convert.format import Format
from weights_convert.formats import FORMATS
from weights_convert.formats.hf_torch import HF
from weights_convert.known_models import GivenConfig
from weights_convert.model import AnyConfig, Model
from weights_convert.pipelines import clip_folders, tokenizer_folder
from weights_convert.wrapping import Unwrapped, unwrapped

_FILES = tuple(files for format_ in FORMATS.values() for files in format_.files)
_USUAL = tuple(dict.fromkeys((*(files.whole for files in _FILES), *(files.index for files in _FILES if files.index))))
_FOREIGN = tuple(form for format_ in FORMATS.values() if format_ is not HF for form in format_.downloads)
_COMPANY = frozenset({JOURNAL, *(name for format_ in FORMATS.values() for name in format_.small_files)})
"""Names of files beside the weights that say what these mean."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """An opened checkpoint.

    Attributes:
        path: the file of weights, or the index of its shards.
        format: what it is.
        kind: of container: ``safetensors``, ``torch``, ``torchscript``, ``hdf5`` or ``msgpack``.
        model: its configuration, weights and small files.
        config_origin: where the configuration came from.
        notes: what a person should know of how it was read.
        seen: its files as they were opened.
    """

    path: Path
    format: Format
    kind: str
    model: Model
    config_origin: str
    seen: Fingerprints
    notes: tuple[str, ...] = ()

    def check_unchanged(self) -> None:
        """To be called when all has been read that is wanted: raises `CheckpointError` if any of its files changed."""
        self.seen.check()


def open_source(
    path: str | PathLike[str],
    config: GivenConfig | None = None,
    *,
    key: str | None = None,
    prefix: str | None = None,
) -> Source:
    """Opens a checkpoint; no weights are read yet, and its files stay open until nothing refers to its weights.

    Args:
        path: a file, a directory, or a name that `clip_core.resolve_checkpoint` finds.
        config: for checkpoints without a configuration: a configuration, a file, or the name of a known model.
        key: of several models in a file, the one under this key, such as ``model_ema``.
        prefix: of several models in a file, the one with this in front of its names.

    Raises:
        CheckpointNotFoundError: nothing there.
        CheckpointFormatError: broken, of no known format, of several at once, or with several models to choose from.
        CheckpointError: a file of it was replaced or written to meanwhile.
        ConfigError: no configuration, and shapes do not tell enough; the message says what to do. Or files of a
            published model that contradict what is known of it.
        WeightMismatchError: the weights are not those of the configuration.
    """
    weights = find_weights(path)
    folders = [weights.parent, *filter(None, [tokenizer_folder(weights.parent)])]
    seen = Fingerprints([weights, *(folder / name for folder in folders for name in _COMPANY)])
    try:
        container = open_container(weights)
        seen.add(container.sources)
        source = _recognised(unwrapped(container, key, prefix), config, seen)
    except CLIPError:
        seen.check()  # then that is why
        raise
    seen.check()
    named = None if config is not None or os.path.lexists(Path(path).expanduser()) else find_named(os.fspath(path))
    if named is not None:
        check_published(os.fspath(path), named.model, source, source.path)
    return source


def check_published(name: str, model: PublishedModel, source: Source, path: Path) -> None:
    """Raises `ConfigError` where the files of a published model contradict what is known of it; the path is to show."""
    files, config = source.model.files, source.model.config
    wrong = config_differences(model, config) if isinstance(config, CLIPConfig) else []
    wrong += preprocessing_differences(model, preprocessor_of(files) or processor_of(model).to_dict())
    if wrong:
        insist = f"triclip convert {shlex.quote(str(path))} NEW_DIRECTORY --to hf"
        raise contradiction(model, name, wrong, f"To use it as its files say, convert it: {insist}")


def _recognised(alone: Unwrapped, config: GivenConfig | None, seen: Fingerprints) -> Source:
    container = alone.container
    format_ = recognise(container)
    found, rest = format_.read(container)
    shapes = {name: tensor.shape for name, tensor in found.items()}
    known = find_config(container, format_, shapes, config)
    notes = format_.check_implied(container, known.config)
    files, left = _small_files(alone, format_)
    model = _checked_model(container, known.config, found, rest, files)
    return Source(
        path=container.path,
        format=format_,
        kind=container.kind,
        model=model,
        config_origin=known.origin,
        seen=seen,
        notes=(*alone.notes, *notes, *left),
    )


def find_weights(path: str | PathLike[str]) -> Path:
    """The file of weights, or the index of shards, that a path or a name stands for.

    Raises:
        CheckpointNotFoundError: nothing there, or no weights in the directory.
        CheckpointFormatError: the directory holds several checkpoints; the message lists them.
    """
    try:
        given = Path(path).expanduser()
    except RuntimeError as error:  # the home of a user who is not there
        raise CheckpointNotFoundError(f"{path}: {error}") from error
    if os.path.lexists(given) and not given.is_dir():
        return given
    if not given.is_dir():
        if given.suffix in (*SUFFIXES, ".json"):
            raise CheckpointNotFoundError(f"{given}: no such file.")
        given = resolve_checkpoint(path, part="everything", foreign_weights=_FOREIGN)
    candidates = _candidates(given)
    folders = [] if candidates else clip_folders(given)
    if len(folders) == 1:
        return find_weights(folders[0])
    if not candidates and not folders:
        held = ", ".join(sorted(entry.name for entry in given.iterdir())[:12]) or "nothing"
        raise CheckpointNotFoundError(f"{given}: expected weights of a known format, found {held}.")
    if len(candidates) != 1:
        listed = "".join(f"\n  {each}" for each in candidates or folders)
        raise CheckpointFormatError(
            f"{given}: holds several checkpoints. Say which by giving the {'file' if candidates else 'folder'}, "
            f"one of:{listed}"
        )
    return candidates[0]


def _candidates(directory: Path) -> list[Path]:
    """Files of weights under their usual names; else whatever looks like one."""
    usual = [directory / name for name in _USUAL if is_placed(directory / name)]
    loose = [file for file in directory.iterdir() if file.suffix in SUFFIXES and not file.name.startswith(".")]
    variants = sorted(directory.glob("*.index.*.json"))  # model.safetensors.index.fp16.json
    return usual or variants or sorted(file for file in loose if file.is_file() and "-of-" not in file.name)


def recognise(container: Container) -> Format:
    """The format whose names a container has; of several that share names, the one that has most of them.

    Raises:
        CheckpointFormatError: none or several.
    """
    claims = [format_ for format_ in FORMATS.values() if format_.recognises(container)]
    most = max((format_.known_names(container) for format_ in claims), default=0)
    candidates = [format_ for format_ in claims if format_.known_names(container) == most]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        titles = ", ".join(f"{format_.name} ({format_.title})" for format_ in candidates)
        raise CheckpointFormatError(f"{container.path}: could be of several formats: {titles}.")
    names = ", ".join(repr(name[:100]) for name in sorted(container.tensors)[:5]) or "no tensors"
    raise CheckpointFormatError(
        f"{container.path}: expected the weights of a CLIP model in one of the formats {', '.join(FORMATS)}; "
        f"this {container.kind} file holds {names}{' ...' if len(container.tensors) > 5 else ''}."
    )


def _checked_model(
    container: Container,
    config: AnyConfig,
    found: Mapping[str, Tensor],
    rest: Mapping[str, Tensor],
    files: Mapping[str, bytes],
) -> Model:
    """The model, if the weights are exactly those of the configuration."""
    projection = any(name in found for name in ("text_projection.weight", "visual_projection.weight"))
    specs = weight_specs(config, projection=projection)
    layout = {name: (tensor.dtype, tensor.shape) for name, tensor in {**rest, **found}.items()}
    names = match_weights(specs, layout, str(container.path))
    weights = {spec.name: found[names[spec.name]].reshaped(spec.shape) for spec in specs}
    return Model(config=config, projection=projection, weights=weights, files=files)


def _small_files(alone: Unwrapped, format_: Format) -> tuple[dict[str, bytes], list[str]]:
    """What travels along, and a note for people on what does not."""
    container, folder = alone.container, alone.container.path.parent
    inside = {name: content for name, content in container.extra.items() if name in (PREPROCESSOR, *TOKENIZER)}
    files = format_.read_files(folder)
    elsewhere = tokenizer_folder(folder)
    if elsewhere and not files.keys() & {*TOKENIZER}:
        files = {**files, **read_files(elsewhere)}
    files = {**files, **inside}
    own, notes = without_other_preprocessor(files) if alone.prefix else (files, [])
    return rewritten(own, folder), notes
