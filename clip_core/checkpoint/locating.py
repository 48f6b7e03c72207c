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
from os import PathLike
from pathlib import Path

from clip_core.checkpoint.hub_cache import Part, Repository, WeightForm
from clip_core.checkpoint.weight_files import ANY_WEIGHTS, WeightChoice
from clip_core.errors import CheckpointNotFoundError

EMBEDDED_NAME = "triclip-emoji"
_EMBEDDED_ROOT = Path(__file__).parents[1] / "embedded"
_REPOSITORY_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


def resolve_checkpoint(
    name_or_path: str | PathLike[str],
    *,
    part: Part = "config",
    foreign_weights: Sequence[WeightForm] = (),
    subfolder: str = "",
    revision: str = "main",
    cache_dir: str | PathLike[str] | None = None,
    local_files_only: bool = False,
    choice: WeightChoice = ANY_WEIGHTS,
    force_download: bool = False,
    token: str | bool | None = None,
) -> Path:
    """The directory that holds a checkpoint.

    Args:
        name_or_path: a directory, ``"triclip-emoji"`` or a repository name such as ``openai/clip-vit-base-patch32``.
        part: what is wanted of it. A repository is downloaded unless the cache has all of that, or knows that there is
            no such file; its small files always, its weights if they are wanted.
        foreign_weights: what else serves as weights, in this order after Triclip's own.
        subfolder: a folder inside the checkpoint.
        revision: branch, tag or commit of a repository.
        cache_dir: where the Hugging Face cache is; ``$HF_HUB_CACHE``, ``$HF_HOME/hub`` or its default place otherwise.
        local_files_only: never download (also when ``HF_HUB_OFFLINE=1``).
        choice: which of Triclip's own forms of weights serve.
        force_download: download what is wanted of a repository, though the cache has it.
        token: for the hub: a token, ``True`` for the stored one, ``False`` for none.

    Raises:
        CheckpointNotFoundError: nothing under that name, or not all that is wanted, and it cannot be downloaded; the
            message says where was looked and names what is missing.
        MissingExtraError: the name must be downloaded and ``huggingface_hub`` is not installed.
    """
    directory = _local(os.fspath(name_or_path))
    if directory is None:
        cache = _cache_directory(cache_dir)
        name, within = os.fspath(name_or_path), subfolder.strip("/")
        repository = Repository(name, revision, cache, within, foreign_weights, choice, token)
        missing = [] if force_download else repository.missing(part)
        directory = repository.snapshot
        if missing or force_download:
            repository.refuse_offline(missing, local_files_only)
            directory = repository.download(part, missing)
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
    if path.exists():
        raise CheckpointNotFoundError(f"{path} is a pipe, a device or a socket; expected a checkpoint directory.")
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
