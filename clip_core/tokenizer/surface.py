"""The call that both tokenizers share, and their way from and to a checkpoint directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Self

from clip_core.batch import BatchEncoding
from clip_core.errors import InputError, InputTypeError
from clip_core.loading_options import sort_keywords
from clip_core.saving_options import Publishable, sort_saving_keywords
from clip_core.tokenizer.bpe import MERGE_COUNT, builtin_table
from clip_core.tokenizer.conversion import TokenConversion
from clip_core.tokenizer.files import read_settings, table_arguments, write_settings, write_table
from clip_core.tokenizer.options import (
    EncodeOptions,
    Row,
    TextInput,
    Truncation,
    check_count,
    check_side,
    gather_rows,
    resolve_strategies,
)
from clip_core.tokenizer.rows import (
    PAD_TOKEN_TYPE_ID,
    columns_of,
    fillers,
    pad_rows,
    tensor_type_of,
    warn_of_long_rows,
)
from clip_core.tokenizer.settings import BUILTIN_MAX_LENGTH

SETTING_NAMES = (
    *("unk_token", "bos_token", "eos_token", "pad_token", "additional_special_tokens"),
    *("model_max_length", "max_length", "padding_side", "truncation_side"),
    *("clean_up_tokenization_spaces", "allow_special_in_text", "errors", "clean", "pad_id"),
)
"""The keywords of `from_pretrained` that are settings."""


class Tokenizer(TokenConversion, Publishable):
    """The call and the files of a tokenizer. `CLIPTokenizer` and `CLIPTokenizerFast` choose the parts.

    The arguments of their constructors have the same names, by which `from_directory` passes them.
    """

    model_input_names: ClassVar[list[str]] = ["input_ids", "attention_mask"]
    is_fast: ClassVar[bool]
    pad_token_type_id: ClassVar[int] = PAD_TOKEN_TYPE_ID

    def __call__(
        self,
        text: TextInput | None = None,
        text_pair: TextInput | None = None,
        text_target: TextInput | None = None,
        text_pair_target: TextInput | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_token_type_ids: bool | None = None,
        return_attention_mask: bool | None = None,
        return_overflowing_tokens: bool = False,
        return_special_tokens_mask: bool = False,
        return_offsets_mapping: bool = False,
        return_length: bool = False,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Encode one text or a batch: `<|startoftext|> text <|endoftext|>`, as token ids.

        Args:
            text: a string, a list of strings, or a list of pairs; with `is_split_into_words`, a list of words for each.
            text_pair: a second text for each: `<|startoftext|> text <|endoftext|><|endoftext|> pair <|endoftext|>`.
            text_target, text_pair_target: encoded alike; their ids come back as `labels` when there is a `text` too.
            add_special_tokens: put the start and end tokens around the text.
            padding: True or "longest" fills to the longest row, "max_length" to `max_length`, False not at all.
            truncation: True or "longest_first", "only_first" or "only_second" cut rows to `max_length`.
            max_length: in tokens, special ones included; the tokenizer's `model_max_length` if not given.
            stride: how many tokens an overflowing piece repeats of the one before.
            pad_to_multiple_of: round the padded length up to a multiple of it.
            padding_side: "right" or "left"; the tokenizer's own if not given. CLIP needs "right".
            return_tensors: "np", "pt", "tf" or "jax" arrays [batch, token] instead of lists.
            return_overflowing_tokens: return what truncation cut off: as ids (`overflowing_tokens`), or from the
                fast tokenizer as further rows, with `overflow_to_sample_mapping`.
            return_offsets_mapping: where in its text each token is, as (start, end) characters; fast tokenizer only.
            return_length: the number of tokens of each row, padding included.
            verbose: warn of rows longer than `model_max_length`.

        Returns:
            BatchEncoding with `input_ids`, `attention_mask` (0 on padding) and what was asked for.

        Raises:
            InputTypeError: something is not text.
            InputError: an empty batch, an unknown strategy, rows that cannot be cut to `max_length`, or that differ
                in length where tensors were asked for.
        """
        pads, cuts, length = resolve_strategies(padding, truncation, max_length, self.model_max_length)
        options = EncodeOptions(
            pad_token_id=self.pad_token_id,
            truncation_side=self.truncation_side,
            add_special_tokens=add_special_tokens,
            padding=pads,
            truncation=cuts,
            max_length=length,
            stride=stride,
            is_split_into_words=is_split_into_words,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=self.padding_side if padding_side is None else padding_side,
            return_token_type_ids=bool(return_token_type_ids),
            return_attention_mask=return_attention_mask is None or return_attention_mask,
            return_overflowing_tokens=return_overflowing_tokens,
            return_special_tokens_mask=return_special_tokens_mask,
            return_offsets_mapping=return_offsets_mapping,
            return_length=return_length,
            as_arrays=return_tensors is not None,
        )
        target = None
        if text_target is not None:
            target = self._encode(text_target, text_pair_target, options, return_tensors, verbose)
        if text is None and target is not None:
            return target
        if text is None:
            raise InputError("expected text or text_target, got neither")
        encoding = self._encode(text, text_pair, options, return_tensors, verbose)
        if target is not None:
            encoding["labels"] = target["input_ids"]
        return encoding

    # transformers keeps these older names of the same call; a batch of pairs is a list of two-tuples in both.
    encode_plus = __call__
    batch_encode_plus = __call__

    def _encode(
        self,
        text: TextInput,
        text_pair: TextInput | None,
        options: EncodeOptions,
        return_tensors: str | None,
        verbose: bool,
    ) -> BatchEncoding:
        rows, batched = gather_rows(text, text_pair, options.is_split_into_words, return_tensors)
        self._check_room(rows, options)
        columns = self._encoder.encode(rows, options)
        if verbose and options.truncation is Truncation.NONE:
            warn_of_long_rows(columns["input_ids"], self.model_max_length)
        batched = batched or return_tensors is not None
        return BatchEncoding(columns if batched else self._encoder.unbatch(columns), return_tensors)

    def _check_room(self, rows: list[Row], options: EncodeOptions) -> None:
        if options.truncation is Truncation.NONE or not options.add_special_tokens:
            return
        least = self.num_special_tokens_to_add(pair=any(pair is not None for _, pair in rows))
        if options.max_length is not None and options.max_length < least:
            raise InputError(f"expected max_length to leave room for {least} special tokens, got {options.max_length}")

    def encode(
        self,
        text: str | Sequence[str],
        text_pair: str | Sequence[str] | None = None,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        stride: int = 0,
        is_split_into_words: bool = False,
        padding_side: str | None = None,
        return_tensors: str | None = None,
    ) -> Any:
        """The `input_ids` of one text; arguments, errors and meaning as when calling the tokenizer."""
        encoding = self(
            text,
            text_pair,
            add_special_tokens=add_special_tokens,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            stride=stride,
            is_split_into_words=is_split_into_words,
            padding_side=padding_side,
            return_tensors=return_tensors,
        )
        return encoding["input_ids"]

    def pad(
        self,
        encoded_inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        padding: bool | str = True,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | None = None,
        verbose: bool = True,
    ) -> BatchEncoding:
        """Pad one encoding, a batch of them, or a list of encodings (a collate function's) to one length.

        Arrays and tensors come back as what they were, lists as lists, unless `return_tensors` says otherwise.

        Raises:
            InputError: no `input_ids`, entries that do not match, or an unknown strategy.
            InputTypeError: neither an encoding nor a list of encodings.
        """
        columns = columns_of(encoded_inputs)
        return_tensors = return_tensors or tensor_type_of(encoded_inputs)
        pads, _, length = resolve_strategies(padding, False, max_length, self.model_max_length)
        single = not any(isinstance(row, list) for row in columns["input_ids"])
        if single:
            columns = {name: [value] for name, value in columns.items()}
        side = self.padding_side if padding_side is None else padding_side
        check_side("padding_side", side)
        check_count("pad_to_multiple_of", pad_to_multiple_of, least=1)
        padded = pad_rows(
            columns,
            padding=pads,
            max_length=length,
            pad_to_multiple_of=pad_to_multiple_of,
            padding_side=side,
            fillers=fillers(self.pad_token_id),
            return_attention_mask=return_attention_mask is None or return_attention_mask,
        )
        return BatchEncoding({name: column[0] for name, column in padded.items()} if single else padded, return_tensors)

    # ---- files

    @classmethod
    def from_merges(cls, merge_count: int = MERGE_COUNT, model_max_length: int = BUILTIN_MAX_LENGTH) -> Self:
        """A tokenizer of CLIP's first `merge_count` merges: a vocabulary of `merge_count + 514` tokens.

        For small models. Texts are cleaned and cut into words as ever; where merges are missing, a word gets more and
        shorter tokens. The special tokens have the last two ids. All 48,894 merges make the tokenizer of CLIP.

        Raises:
            InputError: CLIP has no such number of merges.
        """
        vocabulary, merges = builtin_table(merge_count)
        arguments: dict[str, Any] = {"vocab_file": vocabulary, "merges_file": merges}
        return cls(**arguments | {"model_max_length": model_max_length})

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str] | None = None, **keywords: Any) -> Self:
        """Load from a checkpoint directory or name; settings given here win over those in its files.

        Args:
            keywords: settings by their names in the constructor (`SETTING_NAMES`), and where to look for the
                checkpoint, as of `clip_core.loading_options.Location`. `max_length` is another name of
                `model_max_length`. `use_fast` changes nothing: the class says which tokenizer it is.

        Raises:
            CheckpointNotFoundError: no such checkpoint, or it has no tokenizer.
            CheckpointFormatError: a file of it is cut or corrupt.
            InputTypeError, InputError: a keyword that is unknown, or that has no meaning here.
        """
        given = sort_keywords(f"{cls.__name__}.from_pretrained", name_or_path, keywords, (*SETTING_NAMES, "use_fast"))
        directory = given.location.directory(given.name, "tokenizer")
        return cls.from_directory(directory, {name: value for name, value in given.own.items() if name != "use_fast"})

    @classmethod
    def from_directory(cls, directory: Path, given: Mapping[str, Any] | None = None) -> Self:
        """Load from the files of a directory, without asking where a name leads; `given` arguments win over them.

        Raises:
            CheckpointNotFoundError: the directory has no tokenizer.
            CheckpointFormatError: a file of it is cut or corrupt.
        """
        settings, added = read_settings(directory)
        chosen = {name: value for name, value in (given or {}).items() if value is not None}
        if "max_length" in chosen:
            length = chosen.pop("max_length")
            if chosen.setdefault("model_max_length", length) != length:
                raise InputTypeError("got max_length and model_max_length, which are one; pass model_max_length")
        arguments = table_arguments(directory, cls.is_fast) | settings.arguments() | chosen
        tokenizer = cls(**arguments)
        tokenizer._table.restore(added)
        return tokenizer

    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, str]:
        """Write `vocab.json` and `merges.txt` as the class of the same name in transformers 4 does; their paths."""
        vocabulary, merges = write_table(Path(save_directory), filename_prefix, *self._encoder.saved_table())
        return str(vocabulary), str(merges)

    def save_pretrained(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None, **keywords: Any
    ) -> tuple[str, ...]:
        """Write the tokenizer's files, so that this class and transformers 4 load them; their paths.

        Args:
            filename_prefix: with which the names of the files begin.
            keywords: `push_to_hub` and the like; see `clip_core.saving_options`.
        """
        directory = Path(save_directory)
        upload = sort_saving_keywords(f"{type(self).__name__}.save_pretrained", directory, keywords)
        written = self._write(directory, filename_prefix)
        if upload is not None:
            upload.send(directory, [Path(path).name for path in written])
        return written

    def _write(self, directory: Path, filename_prefix: str | None) -> tuple[str, ...]:
        kind = type(self).__name__.removesuffix("Fast")
        written = write_settings(directory, filename_prefix, self._settings, self._table.added, kind)
        return (*map(str, written), *self.save_vocabulary(directory, filename_prefix))
