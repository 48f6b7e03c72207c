"""From a checkpoint's name to a directory on this computer.

A name is, in this order: a directory; the checkpoint that ships with Triclip (``triclip-emoji``); a repository in the
local Hugging Face cache, whose layout is documented for reimplementation; a repository to download, which needs the
``hub`` extra.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from clip_core.errors import CheckpointNotFoundError, MissingExtraError
from clip_core.files import finish_switch

EMBEDDED_NAME = "triclip-emoji"
_EMBEDDED_ROOT = Path(__file__).parent / "pretrained"
_REPOSITORY_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_SMALL_FILES = ("*.json", "*.txt")
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")
"""In this order: what comes later is downloaded only where a repository has nothing of what comes before."""


def resolve_checkpoint(
    name_or_path: str | PathLike[str],
    *,
    weights: bool = False,
    subfolder: str = "",
    revision: str = "main",
    cache_dir: str | PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """The directory that holds a checkpoint.

    Args:
        name_or_path: a directory, ``"triclip-emoji"`` or a repository name such as ``openai/clip-vit-base-patch32``.
        weights: whether weights are wanted too, not only configuration, tokenizer and preprocessor.
        subfolder: a folder inside the checkpoint.
        revision: branch, tag or commit of a repository.
        cache_dir: where the Hugging Face cache is; ``$HF_HUB_CACHE``, ``$HF_HOME/hub`` or its default place otherwise.
        local_files_only: never download (also when ``HF_HUB_OFFLINE=1``).

    A save in it that was killed in the midst of its renames is completed.

    Raises:
        CheckpointNotFoundError: nothing under that name; the message says where was looked.
        MissingExtraError: the name must be downloaded and ``huggingface_hub`` is not installed.
    """
    directory = _local(os.fspath(name_or_path))
    if directory is None:
        cache = _cache_directory(cache_dir)
        repository = _Repository(os.fspath(name_or_path), revision, cache, subfolder)
        directory = repository.cached(weights)
        if directory is None:
            repository.refuse_offline(local_files_only)
            directory = repository.downloaded(weights)
    directory = directory / subfolder
    if not directory.is_dir():
        raise CheckpointNotFoundError(f"{name_or_path}: the checkpoint has no folder {subfolder!r}.")
    finish_switch(directory)
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
            f"{path} is a file; expected a checkpoint directory. Give its parent directory, "
            "or convert a file of another format with `triclip convert`."
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

    def cached(self, weights: bool) -> Path | None:
        """The snapshot in the cache, if its configuration is there, and with ``weights`` these too."""
        repository = self.cache / f"models--{self.name.replace('/', '--')}"
        reference = repository / "refs" / self.revision
        commit = reference.read_text().strip() if reference.is_file() else self.revision
        snapshot = repository / "snapshots" / commit
        complete = (snapshot / "config.json").exists() and (not weights or self.has_weights(snapshot))
        return snapshot if complete else None

    def has_weights(self, snapshot: Path) -> bool:
        """Whether a snapshot holds weights in any form that is read."""
        return any(any((snapshot / self.subfolder).glob(pattern)) for pattern in _WEIGHT_FILES)

    def state(self) -> str:
        """Why a download is needed."""
        return "not in" if self.cached(weights=False) is None else "without its weights in"

    def refuse_offline(self, local_files_only: bool) -> None:
        """Raises `CheckpointNotFoundError` where nothing may be downloaded."""
        if local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise CheckpointNotFoundError(
                f"{self.name} (revision {self.revision}): no such directory, and {self.state()} the local cache "
                f"{self.cache}. Downloading is switched off; allow it, or give the path of a checkpoint directory."
            )

    def downloaded(self, weights: bool) -> Path:
        """The snapshot, with the first form of weights that the repository has if ``weights`` are wanted."""
        try:
            from huggingface_hub import snapshot_download
        except ImportError:
            where = f"{self.name!r} is no directory here and {self.state()} the cache {self.cache}"
            raise MissingExtraError("huggingface_hub", "hub", f"{where}; downloading it") from None

        def fetch(*patterns: str) -> Path:
            allowed = [*patterns, *(f"*/{pattern}" for pattern in patterns)]
            found = snapshot_download(self.name, revision=self.revision, cache_dir=self.cache, allow_patterns=allowed)
            return Path(found)

        try:
            snapshot = fetch(*_SMALL_FILES)
            for pattern in _WEIGHT_FILES if weights else ():
                if not self.has_weights(snapshot):
                    snapshot = fetch(pattern)
        except Exception as error:
            raise CheckpointNotFoundError(
                f"{self.name} (revision {self.revision}): no such directory, not in the local cache {self.cache}, "
                f"and the download failed: {error}"
            ) from error
        return snapshot
