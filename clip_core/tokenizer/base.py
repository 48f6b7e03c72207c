"""The call that both tokenizers share, with everything that it can be asked for."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from clip_core.batch import BatchEncoding
from clip_core.errors import InputError
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
from clip_core.tokenizer.padding import columns_of, pad_rows, tensor_type_of
from clip_core.tokenizer.saved import SavedTokenizer

logger = logging.getLogger(__name__)

Columns = dict[str, list[Any]]


class TokenizerBase(SavedTokenizer):
    """The public surface of transformers 4.57's CLIP tokenizers; subclasses turn rows of text into columns of ids."""

    @abstractmethod
    def _encode_rows(self, rows: list[Row], options: EncodeOptions) -> Columns:
        """Encode, cut and pad; one entry per row in every column, or one per piece when a row overflows."""

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
        columns = self._encode_rows(rows, options)
        if verbose and options.truncation is Truncation.NONE:
            self._warn_of_long_rows(columns["input_ids"])
        if batched:
            return BatchEncoding(columns, return_tensors)
        return self._single(columns, options, return_tensors)

    def _check_room(self, rows: list[Row], options: EncodeOptions) -> None:
        if options.truncation is Truncation.NONE or not options.add_special_tokens:
            return
        least = self.num_special_tokens_to_add(pair=any(pair is not None for _, pair in rows))
        if options.max_length is not None and options.max_length < least:
            raise InputError(f"expected max_length to leave room for {least} special tokens, got {options.max_length}")

    def _single(self, columns: Columns, options: EncodeOptions, return_tensors: str | None) -> BatchEncoding:
        """The result for one text that was not given as a batch: without batch axis, unless it becomes tensors."""
        if return_tensors is not None:
            return BatchEncoding(columns, return_tensors)
        return BatchEncoding({name: column[0] for name, column in columns.items()})

    def _warn_of_long_rows(self, rows: list[list[int]]) -> None:
        lengths = [len(row) for row in rows if len(row) > self.model_max_length]
        if lengths:
            logger.warning(
                "%d of %d texts are longer than the %d tokens of the model (the longest has %d); "
                "pass truncation=True to cut them",
                len(lengths),
                len(rows),
                self.model_max_length,
                max(lengths),
            )

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
            fillers=self._fillers(),
            return_attention_mask=return_attention_mask is None or return_attention_mask,
        )
        return BatchEncoding({name: column[0] for name, column in padded.items()} if single else padded, return_tensors)

    def _fillers(self) -> dict[str, int]:
        return {
            "input_ids": self.pad_token_id,
            "attention_mask": 0,
            "token_type_ids": self.pad_token_type_id,
            "special_tokens_mask": 1,
        }
