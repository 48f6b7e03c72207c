"""Files of a directory into a repository of the Hugging Face hub; needs ``huggingface_hub``, of the ``hub`` extra."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from clip_core.errors import CheckpointError, MissingExtraError

STALE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
"""Weights of an earlier upload: one that is left beside new ones in another form could be read instead of them."""


@dataclass(frozen=True, kw_only=True)
class Upload:
    """To which repository files go, and how; the words are those of transformers.

    Attributes:
        repo_id: name of the repository, which is made if it is not there.
        token: ``None`` or ``True`` for the one that is stored.
        private: whether a repository that is made is private.
        revision: the branch, which is made if it is not there.
        commit_message, commit_description, create_pr: of the commit.
    """

    repo_id: str
    token: str | bool | None = None
    private: bool | None = None
    revision: str | None = None
    commit_message: str | None = None
    commit_description: str | None = None
    create_pr: bool = False

    def send(self, directory: Path, names: Iterable[str], stale: Iterable[str] = ()) -> str:
        """Uploads those files in one commit, whose address is returned.

        Args:
            directory: where they lie.
            names: of the files.
            stale: patterns of names of files that are removed from the repository unless they are uploaded.

        Raises:
            CheckpointError: the hub did not take them.
            MissingExtraError: ``huggingface_hub`` is not installed.
        """
        try:
            from huggingface_hub import HfApi
        except ImportError:
            purpose = f"Uploading {directory}, where the files are, to {self.repo_id!r}"
            raise MissingExtraError("huggingface_hub", "hub", purpose) from None
        api = HfApi(token=self.token)
        try:
            repository = api.create_repo(self.repo_id, private=self.private, exist_ok=True).repo_id
            if self.revision is not None and not self.create_pr:
                api.create_branch(repository, branch=self.revision, exist_ok=True)
            return str(
                api.upload_folder(
                    repo_id=repository,
                    folder_path=str(directory),
                    allow_patterns=list(names),
                    delete_patterns=list(stale),
                    commit_message=self.commit_message or "Upload by Triclip",
                    commit_description=self.commit_description,
                    revision=self.revision,
                    create_pr=self.create_pr,
                )
            )
        except Exception as error:
            raise CheckpointError(
                f"{directory}: the files are written, but the hub did not take them into {self.repo_id}: {error}"
            ) from error
