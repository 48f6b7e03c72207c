"""From a checkpoint's name to a directory on this computer.

A name is, in this order: a directory; the checkpoint that ships with Triclip (``triclip-emoji``); a published model
(``ViT-L/14@336px``; `clip_core.published.names`); a repository in the local Hugging Face cache, whose layout is
documented for reimplementation; a repository to download, which needs the ``hub`` extra.

Files of OpenAI and open_clip are fetched and converted once, by `weights_convert.by_name`, which lies above this
package and is called by its name (decision 30).
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import Any

from clip_core.checkpoint.converted_cache import CONVERTED_FILES, converted_from_hub, own_cache
from clip_core.checkpoint.hub_cache import Part, Repository, WeightForm
from clip_core.checkpoint.weight_files import ANY_WEIGHTS, WeightChoice
from clip_core.errors import CheckpointNotFoundError
from clip_core.published.names import Named, find_named

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
        name_or_path: a directory, ``"triclip-emoji"``, a published model such as ``ViT-L/14@336px`` or
            ``ViT-H-14/laion2b_s32b_b79k``, or a repository such as ``openai/clip-vit-base-patch32``.
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
            message says where was looked and names what is missing. Or a name of several models.
        MissingExtraError: the name must be downloaded and ``huggingface_hub`` is not installed.
        ConfigError: the files of a published model contradict what is known of it.
        CheckpointError: what was downloaded is not what was published.
    """
    name, within = os.fspath(name_or_path), subfolder.strip("/")
    directory = _local(name)
    if directory is None:
        cache, named = _cache_directory(cache_dir), find_named(name)
        if named is None and not _REPOSITORY_NAME.fullmatch(name):
            raise CheckpointNotFoundError(
                f"{name}: no such directory, no published model (see triclip models), and no name of a repository "
                "(owner/name) either."
            )
        _refuse_if_both(name, named, cache)
        hub = (named.place.hub if named else "") or name
        repository = Repository(hub, revision, cache, within, foreign_weights, choice, token)
        directory = _fetched(name, named, repository, part, own_cache(cache_dir), local_files_only, force_download)
        if named is not None and not within:
            from clip_core.published.contradictions import check_as_published  # it reads configurations

            check_as_published(named.model, directory, name)
    else:
        directory = directory / within
    if not directory.is_dir():
        raise CheckpointNotFoundError(f"{name_or_path}: the checkpoint has no folder {subfolder!r}.")
    return directory


def _fetched(
    name: str,
    named: Named | None,
    repository: Repository,
    part: Part,
    own: Path,
    local_files_only: bool,
    force_download: bool,
) -> Path:
    """The folder that holds what is wanted, downloaded where it has to be, and converted."""

    def converted() -> Path:
        found: Path = _converter().converted(name, named, repository, own, local_files_only, force_download)
        return found

    if named is not None and (named.place.url or named.place.file or named.place.layout):
        return converted()
    before = converted_from_hub(own, repository)
    if before.is_dir() and not force_download:
        return before
    missing = [] if force_download else repository.missing(part)
    here = not missing and not force_download
    if not repository.foreign and repository.holds_only(CONVERTED_FILES, local_files_only=local_files_only or here):
        return converted()
    if here:
        return repository.snapshot / repository.subfolder
    repository.refuse_offline(missing, local_files_only)
    return repository.download(part, missing) / repository.subfolder


def _converter() -> Any:
    return import_module("weights_convert.by_name")


def _refuse_if_both(name: str, named: Named | None, cache: Path) -> None:
    """Raises `CheckpointNotFoundError` for the name of a model that somebody's repository in the cache has, too."""
    if named is None or named.place.hub == name:
        return
    if (cache / f"models--{name.replace('/', '--')}").is_dir():
        raise CheckpointNotFoundError(
            f"{name}: is the published model {named.model.name} and a repository in the cache {cache}. Give the "
            f"directory of the repository there, or the model by where it lies: {named.model.source}."
        )


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
    return _EMBEDDED_ROOT / name if name == EMBEDDED_NAME else None


def _cache_directory(cache_dir: str | PathLike[str] | None) -> Path:
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    if os.environ.get("HF_HUB_CACHE"):
        return Path(os.environ["HF_HUB_CACHE"]).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"
