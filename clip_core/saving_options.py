"""The keywords of every ``save_pretrained``, and ``push_to_hub``; as `clip_core.loading_options` for saving."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from clip_core.checkpoint.hub_upload import Upload
from clip_core.errors import InputError, InputTypeError
from clip_core.loading_options import unknown_message

WITHOUT_EFFECT: Mapping[str, str] = {
    "save_function": "files are written whole or not at all, which another function would not do",
    "save_peft_format": "adapters are peft's: it saves them",
    "legacy_format": "all files of a tokenizer are written, the old ones and tokenizer.json where there is one",
}
"""Keywords that may be given with any value, and why they change nothing."""

ACCEPTED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "safe_serialization": (
        (True, None),
        "Weights are written as safetensors, which all that read pytorch_model.bin read too, without running code. "
        "For that file: torch.save(model.state_dict(), path).",
    ),
    "saved_model": ((False, None), "Call model.export(directory) besides, which writes a SavedModel."),
    "variant": ((None,), "Save into a directory of its own, and rename model.safetensors there."),
}
"""Keywords of which only these values are taken, and what to do instead of others."""

_UPLOAD = tuple(f.name for f in fields(Upload))


def sort_saving_keywords(call: str, directory: Path, given: Mapping[str, Any]) -> Upload | None:
    """Checks the keywords of a ``save_pretrained``; where the files are to be uploaded, if they are.

    Raises:
        InputTypeError: a keyword that nobody knows.
        InputError: a value that has no meaning here.
    """
    rest = {name: value for name, value in given.items() if name not in WITHOUT_EFFECT}
    for name in [name for name in rest if name in ACCEPTED]:
        value, (accepted, advice) = rest.pop(name), ACCEPTED[name]
        if value not in accepted:
            raise InputError(f"{call}: {name}={value!r:.60} has no meaning here. {advice}")
    wanted = bool(rest.pop("push_to_hub", False))
    upload = {name: value for name in _UPLOAD if (value := rest.pop(name, None)) is not None}
    if rest:
        known = ("push_to_hub", *_UPLOAD, *ACCEPTED, *WITHOUT_EFFECT)
        raise InputTypeError(unknown_message(call, next(iter(rest)), (), known))
    return Upload(**{"repo_id": directory.resolve().name, **upload}) if wanted else None


class Publishable:
    """What can be saved, and so uploaded."""

    def push_to_hub(self, repo_id: str, **keywords: Any) -> str:
        """Uploads what `save_pretrained` writes to a repository of the hub, which is made if it is not there.

        Args:
            repo_id: its name.
            keywords: as of `save_pretrained` and `clip_core.checkpoint.hub_upload.Upload`.

        Returns:
            The commit's address.

        Raises:
            CheckpointError: the hub did not take it.
            MissingExtraError: ``huggingface_hub`` is not installed.
        """
        own = {name: keywords.pop(name) for name in _UPLOAD if name in keywords}
        with TemporaryDirectory() as directory:
            self.save_pretrained(directory, **keywords)
            return Upload(repo_id=repo_id, **own).send(Path(directory), ["*"], self.stale_files())

    def save_pretrained(self, save_directory: str | PathLike[str], **keywords: Any) -> Any:
        """Writes the files; each class's own."""
        raise NotImplementedError

    def stale_files(self) -> tuple[str, ...]:
        """Patterns of names that a repository must not keep beside new files."""
        return ()
