"""From a checkpoint's name to a directory on this computer.

A name is, in this order: a directory; the checkpoint that ships with Triclip (``triclip-emoji``); a repository in the
local Hugging Face cache, whose layout is documented for reimplementation; a repository to download, which needs the
``hub`` extra.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

from clip_core.checkpoint.weight_files import has_whole_weights
from clip_core.errors import CheckpointNotFoundError, MissingExtraError

Part = Literal["config", "tokenizer", "image_processor", "processor", "weights", "weights and processor"]
"""What a checkpoint is wanted for."""
_SEVERAL: dict[Part, tuple[Part, ...]] = {
    "processor": ("tokenizer", "image_processor"),
    "weights and processor": ("weights", "processor"),
}

EMBEDDED_NAME = "triclip-emoji"
_EMBEDDED_ROOT = Path(__file__).parents[1] / "embedded"
_REPOSITORY_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_FILES_OF_PARTS = {
    "config": ("config.json",),
    "tokenizer": ("vocab.json", "tokenizer.json"),
    "image_processor": ("preprocessor_config.json", "processor_config.json"),
}
_SMALL_FILES = (
    *("config.json", "preprocessor_config.json", "processor_config.json"),
    *("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json"),
    *("special_tokens_map.json", "added_tokens.json"),
)
_WEIGHT_FILES = (
    ("model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"),
)
"""In this order: what comes later is downloaded only where a repository has nothing of what comes before."""


def resolve_checkpoint(
    name_or_path: str | PathLike[str],
    *,
    part: Part = "config",
    foreign_weights: Sequence[Sequence[str]] = (),
    subfolder: str = "",
    revision: str = "main",
    cache_dir: str | PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """The directory that holds a checkpoint.

    Args:
        name_or_path: a directory, ``"triclip-emoji"`` or a repository name such as ``openai/clip-vit-base-patch32``.
        part: what is wanted of it. A repository is downloaded unless the cache has that; its small files always, its
            weights if they are wanted.
        foreign_weights: what else serves as weights, in this order after Triclip's own: the name of a file, and
            patterns of the names of what is downloaded with it.
        subfolder: a folder inside the checkpoint.
        revision: branch, tag or commit of a repository.
        cache_dir: where the Hugging Face cache is; ``$HF_HUB_CACHE``, ``$HF_HOME/hub`` or its default place otherwise.
        local_files_only: never download (also when ``HF_HUB_OFFLINE=1``).

    Raises:
        CheckpointNotFoundError: nothing under that name; the message says where was looked.
        MissingExtraError: the name must be downloaded and ``huggingface_hub`` is not installed.
    """
    directory = _local(os.fspath(name_or_path))
    if directory is None:
        cache = _cache_directory(cache_dir)
        repository = _Repository(os.fspath(name_or_path), revision, cache, subfolder, foreign_weights)
        directory = repository.cached(part)
        if directory is None:
            repository.refuse_offline(part, local_files_only)
            directory = repository.downloaded(part)
    directory = directory / subfolder
    if not directory.is_dir():
        raise CheckpointNotFoundError(f"{name_or_path}: the checkpoint has no folder {subfolder!r}.")
    return directory


def _local(name: str) -> Path | None:
    """The directory, if the name is that of one or of the checkpoint that ships with Triclip."""
    try:
        path = Path(name).expanduser()
    except RuntimeError as error:  # the home of a user who is not there
        raise CheckpointNotFoundError(f"{name}: {error}") from error
    if path.is_dir():
        return path
    if path.is_file():
        raise CheckpointNotFoundError(
            f"{path} is a file; expected a checkpoint directory. Give its parent directory or, if it is of another "
            f"format, convert it: triclip convert {shlex.quote(str(path))} NEW_DIRECTORY --to hf"
        )
    if name == EMBEDDED_NAME:
        return _EMBEDDED_ROOT / name
    if not _REPOSITORY_NAME.fullmatch(name):
        raise CheckpointNotFoundError(f"{name}: no such directory, and no name of a repository (owner/name) either.")
    return None


def _cache_directory(cache_dir: str | PathLike[str] | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


@dataclass(frozen=True)
class _Repository:
    """A revision of a repository, in the cache or to be downloaded into it."""

    name: str
    revision: str
    cache: Path
    subfolder: str
    foreign_weights: Sequence[Sequence[str]]

    def snapshot(self) -> Path:
        """Where the cache keeps this revision, if it does."""
        repository = self.cache / f"models--{self.name.replace('/', '--')}"
        reference = repository / "refs" / self.revision
        commit = reference.read_text().strip() if reference.is_file() else self.revision
        return repository / "snapshots" / commit

    def cached(self, part: Part) -> Path | None:
        """The snapshot in the cache, if it has that part whole."""
        snapshot = self.snapshot()
        return snapshot if self.has(snapshot, part) else None

    def has(self, snapshot: Path, part: Part) -> bool:
        """Whether a snapshot has that part whole."""
        directory = snapshot / self.subfolder
        if part == "weights":
            foreign = any((directory / names[0]).is_file() for names in self.foreign_weights)
            return foreign or has_whole_weights(directory)
        if part in _SEVERAL:
            return all(self.has(snapshot, each) for each in _SEVERAL[part])
        return any((directory / name).is_file() for name in _FILES_OF_PARTS[part])

    def state(self, part: Part) -> str:
        """Why a download is needed."""
        return f"without its {part.replace('_', ' ')} in" if self.snapshot().is_dir() else "not in"

    def refuse_offline(self, part: Part, local_files_only: bool) -> None:
        """Raises `CheckpointNotFoundError` where nothing may be downloaded."""
        if local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise CheckpointNotFoundError(
                f"{self.name} (revision {self.revision}): no such directory, and {self.state(part)} the local cache "
                f"{self.cache}. Downloading is switched off; allow it, or give the path of a checkpoint directory."
            )

    def downloaded(self, part: Part) -> Path:
        """The snapshot, with the first form of weights that the repository has if weights are wanted."""
        try:
            from huggingface_hub import snapshot_download
        except ImportError:
            where = f"{self.name!r} is no directory here and {self.state(part)} the cache {self.cache}"
            raise MissingExtraError("huggingface_hub", "hub", f"{where}; downloading it") from None
        within = f"{self.subfolder.strip('/')}/" if self.subfolder else ""
        forms = (*_WEIGHT_FILES, *self.foreign_weights) if part.startswith("weights") else ()

        def fetch(names: Sequence[str]) -> Path:
            wanted = [f"{within}{name}" for name in names]
            found = snapshot_download(self.name, revision=self.revision, cache_dir=self.cache, allow_patterns=wanted)
            return Path(found)

        try:
            snapshot = fetch(_SMALL_FILES)
            for names in forms:
                if not self.has(snapshot, "weights"):
                    snapshot = fetch(names)
        except Exception as error:
            raise CheckpointNotFoundError(
                f"{self.name} (revision {self.revision}): no such directory, {self.state(part)} the local cache "
                f"{self.cache}, and the download failed: {error}"
            ) from error
        return snapshot
