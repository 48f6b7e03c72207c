"""Checkpoints of OpenAI and open_clip by their names: fetched, proved by digest, converted once into Triclip's cache.

`clip_core.checkpoint.locating` calls this where a name stands for such files (decision 30). What is downloaded from an
address is kept only as what was made of it; files of the hub stay in the hub's own cache.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from clip_core.checkpoint.converted_cache import converted_from_address, converted_from_hub
from clip_core.checkpoint.hub_cache import Repository, WeightForm, is_offline
from clip_core.checkpoint.leftovers import alone
from clip_core.errors import CheckpointError, CheckpointNotFoundError, InputError
from clip_core.published.contradictions import configuration_of, processor_of
from clip_core.published.names import Named
from clip_core.published.table import PublishedModel
from weights_convert.companions import PREPROCESSOR
from weights_convert.conversion import convert
from weights_convert.downloading import download, file_sha256
from weights_convert.formats.open_clip import OPEN_CLIP
from weights_convert.opening import check_published, open_source
from weights_convert.progress import show_progress

RECORD = "converted_from.json"
_BLOB = re.compile(r"[0-9a-f]{64}")


def converted(
    name: str, named: Named | None, repository: Repository, cache: Path, local_files_only: bool, force: bool
) -> Path:
    """The directory of a checkpoint that is fetched in another format; it is made where it is not there.

    Args:
        name: that it was asked for by.
        named: what the name means, if it is a published model.
        repository: of the hub that holds it, if the name does not mean an address.
        cache: Triclip's.
        local_files_only: never download.
        force: fetch and convert, though it is there.

    Raises:
        CheckpointNotFoundError: it is not there and cannot be downloaded.
        CheckpointError: it is not what was published, or cannot be read or written; nothing is left of it.
        ConfigError: its files contradict what is known of it.
    """
    if named is not None and named.place.url:
        if repository.revision != "main" or repository.subfolder:
            asked = f"folder {repository.subfolder!r}" if repository.subfolder else f"revision {repository.revision!r}"
            raise InputError(f"{name}: is a file at an address and has no {asked}.")
        return _from_address(name, named, cache, local_files_only, force)
    return _from_hub(name, named, repository, cache, local_files_only, force)


def _from_hub(
    name: str, named: Named | None, repository: Repository, cache: Path, local_files_only: bool, force: bool
) -> Path:
    model = named.model if named else None
    file = named.place.file if named else ""
    meant = file or (named.place.layout if named else "")
    forms = (WeightForm(file),) if file else OPEN_CLIP.downloads
    if model is not None:  # the table has what the others read beside the weights
        forms = tuple(replace(form, companions=dict.fromkeys(form.companions, ((form.file,),))) for form in forms)
    repository = replace(repository, own=False, foreign=forms)
    there = converted_from_hub(cache, repository, meant)
    if there.is_dir() and not force:
        return there
    missing = [] if force else repository.missing("everything")
    if missing or force:
        repository.refuse_offline(missing, local_files_only)
        repository.download("everything", missing)
        there = converted_from_hub(cache, repository, meant)
    folder = repository.snapshot / repository.subfolder
    weights = next((folder / form.file for form in forms if (folder / form.file).is_file()), None)
    if weights is None:
        wanted = ", ".join(form.file for form in forms)
        raise CheckpointNotFoundError(f"{name}: the repository {repository.name} holds none of {wanted}.")
    blob = weights.resolve().name
    expected = blob if _BLOB.fullmatch(blob) else ""  # as the hub's cache names a large file
    origin = {"repository": repository.name, "commit": repository.snapshot.name, "file": weights.name}
    with _alone(there.parent):
        if there.is_dir() and not force:
            return there  # by another process, meanwhile
        if meant != OPEN_CLIP.name:
            return _made(there, weights, expected, origin, name, model, force)
        with _scratch(there.parent) as alone:  # other files of the repository are of another layout
            _linked(weights, alone)
            return _made(there, alone / weights.name, expected, origin, name, model, force, weights)


def _from_address(name: str, named: Named, cache: Path, local_files_only: bool, force: bool) -> Path:
    place, model = named.place, named.model
    there = converted_from_address(cache, place.url, place.sha256)
    if there.is_dir() and not force:
        return there
    file = Path(place.url).name
    with _alone(there.parent):
        if there.is_dir() and not force:
            return there
        known = Path(os.path.expanduser("~/.cache/clip")) / file  # where OpenAI's and open_clip's loaders keep it
        if known.is_file() and not force and file_sha256(known).startswith(place.sha256):
            return _made(there, known, place.sha256, {"file": str(known)}, name, model, force)
        if is_offline(local_files_only):
            raise CheckpointNotFoundError(
                f"{name}: no such directory, and not in Triclip's cache {cache}. Downloading {place.url} is switched "
                f"off; allow it, or fetch that file and convert it: {_command(file, model)}"
            )
        with _scratch(there.parent) as scratch:
            fetched = scratch / file
            download(place.url, fetched, place.sha256, f"{name}: nothing was kept. {_elsewhere(model)}")
            return _made(there, fetched, place.sha256, {"url": place.url}, name, model, force)


def _elsewhere(model: PublishedModel) -> str:
    hubs = [str(place.hub) for place in model.also if place.hub]
    return f"The same model is in the hub: {', '.join(hubs)}." if hubs else ""


def _command(file: str, model: PublishedModel) -> str:
    return f"triclip convert {file} NEW_DIRECTORY --to hf --config {model.name}"


def _made(
    there: Path,
    weights: Path,
    expected: str,
    origin: dict[str, str],
    name: str,
    model: PublishedModel | None,
    force: bool,
    shown: Path | None = None,
) -> Path:
    """Converts a file of weights into its place, which is filled in one moment or not at all.

    Args:
        shown: the path for messages, if another one.
    """
    got = file_sha256(weights)
    if not got.startswith(expected):
        raise CheckpointError(
            f"{name}: {shown or weights} is not the file that was published: expected sha256 {expected}, got {got}. "
            "Nothing was made of it; delete it and fetch it again (force_download=True)."
        )
    given = None
    if model is not None and not (weights.parent / OPEN_CLIP.config.name).is_file():
        given = configuration_of(model)
    source = open_source(weights, given)
    if model is not None:
        check_published(name, model, source, shown or weights)
    with _scratch(there.parent) as scratch:
        done = convert(weights, scratch / "made", to="hf", config=given, progress=show_progress)
        if model is not None and PREPROCESSOR not in source.model.files:
            (scratch / "made" / PREPROCESSOR).write_text(processor_of(model).to_json_string())
        record = {"name": name, **origin, "sha256": got, "published_sha256": expected, "weights_sha256": done.sha256}
        (scratch / "made" / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        if there.exists() and force:
            os.replace(there, scratch / "old")
        os.replace(scratch / "made", there)
    return there


def _linked(weights: Path, folder: Path) -> None:
    """Puts a file of weights into a folder, and what lies beside it in open_clip's layout."""
    beside = weights.with_name(OPEN_CLIP.config.name)
    if beside.is_file():
        shutil.copyfile(beside, folder / beside.name)
    try:
        (folder / weights.name).symlink_to(weights.resolve())
    except OSError:  # where links are not allowed
        shutil.copyfile(weights, folder / weights.name)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Lets one process at a time make something in a folder; it then removes what killed ones left."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(folder / ".lock") as is_alone:
            if is_alone:
                for left in folder.glob(".*.tmp"):
                    shutil.rmtree(left, ignore_errors=True)
            yield
    except OSError as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(
            f"{folder}: cannot be written: {error.strerror or error}. Set TRICLIP_CACHE to a folder that can be."
        ) from error


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder beside what is made, gone afterwards."""
    path = folder / f".{uuid.uuid4().hex[:8]}.tmp"
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
