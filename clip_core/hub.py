"""From a checkpoint's name to a directory on this computer.

A name is, in this order: a directory; the checkpoint that ships with Triclip (``triclip-emoji``); a repository in the
local Hugging Face cache, whose layout is documented for reimplementation; a repository to download, which needs the
``hub`` extra.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from clip_core.errors import CheckpointNotFoundError, MissingExtraError
from clip_core.files import finish_switch

EMBEDDED_NAME = "triclip-emoji"
_EMBEDDED_ROOT = Path(__file__).parent / "pretrained"
_REPOSITORY_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_FILES_OF_A_CHECKPOINT = ["*.json", "*.txt", "*.safetensors"]


def resolve_checkpoint(
    name_or_path: str | PathLike[str],
    *,
    subfolder: str = "",
    revision: str = "main",
    cache_dir: str | PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Path:
    """The directory that holds a checkpoint.

    Args:
        name_or_path: a directory, ``"triclip-emoji"`` or a repository name such as ``openai/clip-vit-base-patch32``.
        subfolder: a folder inside the checkpoint.
        revision: branch, tag or commit of a repository.
        cache_dir: where the Hugging Face cache is; ``$HF_HUB_CACHE``, ``$HF_HOME/hub`` or its default place otherwise.
        local_files_only: never download (also when ``HF_HUB_OFFLINE=1``).

    A save in it that was killed in the midst of its renames is completed.

    Raises:
        CheckpointNotFoundError: nothing under that name; the message says where was looked.
        MissingExtraError: the name must be downloaded and ``huggingface_hub`` is not installed.
    """
    directory = _directory(os.fspath(name_or_path), revision, cache_dir, local_files_only) / subfolder
    if not directory.is_dir():
        raise CheckpointNotFoundError(f"{name_or_path}: the checkpoint has no folder {subfolder!r}.")
    finish_switch(directory)
    return directory


def _directory(name: str, revision: str, cache_dir: str | PathLike[str] | None, local_files_only: bool) -> Path:
    path = Path(name).expanduser()
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
    cache = _cache_directory(cache_dir)
    cached = _cached_snapshot(cache, name, revision)
    if cached is not None:
        return cached
    if local_files_only or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise CheckpointNotFoundError(
            f"{name} (revision {revision}): no such directory, and not in the local cache {cache}. "
            "Downloading is switched off; allow it, or give the path of a checkpoint directory."
        )
    return _download(name, revision, cache)


def _cache_directory(cache_dir: str | PathLike[str] | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def _cached_snapshot(cache: Path, name: str, revision: str) -> Path | None:
    """The snapshot of a revision in the cache, if its configuration is there."""
    repository = cache / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / revision
    commit = reference.read_text().strip() if reference.is_file() else revision
    snapshot = repository / "snapshots" / commit
    return snapshot if (snapshot / "config.json").exists() else None


def _download(name: str, revision: str, cache: Path) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError(
            "huggingface_hub", "hub", f"{name!r} is no directory here and not in the cache {cache}; downloading it"
        ) from None
    try:
        found = snapshot_download(name, revision=revision, cache_dir=cache, allow_patterns=_patterns())
    except Exception as error:
        raise CheckpointNotFoundError(
            f"{name} (revision {revision}): no such directory, not in the local cache {cache}, "
            f"and the download failed: {error}"
        ) from error
    return Path(found)


def _patterns() -> Sequence[str]:
    return [*_FILES_OF_A_CHECKPOINT, *(f"*/{pattern}" for pattern in _FILES_OF_A_CHECKPOINT)]
