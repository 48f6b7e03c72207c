"""A tokenizer's way from and to a checkpoint directory."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self

from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.tokenizer.bpe import MERGE_COUNT, Merge, builtin_table
from clip_core.tokenizer.files import AddedToken, TokenizerSettings, read_settings, read_table, write_settings
from clip_core.tokenizer.tokens import TokenTable

BUILTIN_MAX_LENGTH = 77
"""The context length of every CLIP that OpenAI released."""


class SavedTokenizer(TokenTable):
    """A vocabulary that is loaded from files and saved to them."""

    @abstractmethod
    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write `vocab.json` and `merges.txt`; their paths."""

    @abstractmethod
    def _restore(self, added: Mapping[int, AddedToken]) -> None:
        """Add saved tokens under the ids that they had."""

    @classmethod
    @abstractmethod
    def _from_table(cls, vocabulary: dict[str, int], merges: list[Merge], settings: Mapping[str, Any]) -> Self:
        """Build from a table and the named arguments of the constructor."""

    @classmethod
    def _from_directory(cls, directory: Path, settings: Mapping[str, Any]) -> Self:
        """Build from the table in a directory and the named arguments of the constructor."""
        return cls._from_table(*read_table(directory), settings)

    @classmethod
    def from_merges(cls, merge_count: int = MERGE_COUNT, model_max_length: int = BUILTIN_MAX_LENGTH) -> Self:
        """A tokenizer of CLIP's first `merge_count` merges: a vocabulary of `merge_count + 514` tokens.

        For small models. Texts are cleaned and cut into words as ever; where merges are missing, a word gets more and
        shorter tokens. The special tokens have the last two ids. All 48,894 merges make the tokenizer of CLIP.

        Raises:
            InputError: CLIP has no such number of merges.
        """
        return cls._from_table(*builtin_table(merge_count), {"model_max_length": model_max_length})

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | PathLike[str],
        *,
        subfolder: str = "",
        revision: str = "main",
        cache_dir: str | PathLike[str] | None = None,
        local_files_only: bool = False,
        unk_token: str | None = None,
        bos_token: str | None = None,
        eos_token: str | None = None,
        pad_token: str | None = None,
        model_max_length: int | None = None,
        padding_side: str | None = None,
        truncation_side: str | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        allow_special_in_text: bool | None = None,
    ) -> Self:
        """Load from a checkpoint directory or name; settings given here win over those in its files.

        Raises:
            CheckpointNotFoundError: no such checkpoint, or it has no tokenizer.
            CheckpointFormatError: a file of it is cut or corrupt.
        """
        directory = resolve_checkpoint(
            name_or_path,
            part="tokenizer",
            subfolder=subfolder,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        saved = read_settings(directory)
        settings: dict[str, Any] = {
            "unk_token": saved.unk_token,
            "bos_token": saved.bos_token,
            "eos_token": saved.eos_token,
            "pad_token": saved.pad_token,
            "model_max_length": saved.model_max_length,
            "padding_side": saved.padding_side,
            "truncation_side": saved.truncation_side,
            "clean_up_tokenization_spaces": saved.clean_up_tokenization_spaces,
            "allow_special_in_text": not saved.split_special_tokens,
            "errors": saved.errors,
            "additional_special_tokens": saved.additional_special_tokens,
        }
        given = {
            "unk_token": unk_token,
            "bos_token": bos_token,
            "eos_token": eos_token,
            "pad_token": pad_token,
            "model_max_length": model_max_length,
            "padding_side": padding_side,
            "truncation_side": truncation_side,
            "clean_up_tokenization_spaces": clean_up_tokenization_spaces,
            "allow_special_in_text": allow_special_in_text,
        }
        settings |= {name: value for name, value in given.items() if value is not None}
        tokenizer = cls._from_directory(
            directory, {name: value for name, value in settings.items() if value is not None}
        )
        tokenizer._restore(saved.added_tokens)
        return tokenizer

    def save_pretrained(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the tokenizer's files, so that this class and transformers 4 load them; their paths."""
        directory = Path(save_directory)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        written = write_settings(directory, self._settings(), type(self).__name__.removesuffix("Fast"), prefix)
        return (*map(str, written), *self.save_vocabulary(directory, filename_prefix))

    def _settings(self) -> TokenizerSettings:
        return TokenizerSettings(
            bos_token=self.bos_token,
            eos_token=self.eos_token,
            unk_token=self.unk_token,
            pad_token=self.pad_token,
            additional_special_tokens=tuple(self.additional_special_tokens),
            model_max_length=self.model_max_length,
            padding_side=self.padding_side,
            truncation_side=self.truncation_side,
            clean_up_tokenization_spaces=self.clean_up_tokenization_spaces,
            errors=self.errors,
            split_special_tokens=not self.allow_special_in_text,
            added_tokens=self.added_tokens_decoder,
        )
