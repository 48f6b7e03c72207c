"""The tokenizer of record: OpenAI's, id for id."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any, Self

from clip_core.checkpoint.files import write_text_atomically
from clip_core.errors import CheckpointFormatError, InputError
from clip_core.tokenizer.base import Columns, TokenizerBase
from clip_core.tokenizer.bpe import BytePairEncoder, Merge, merges_text, vocabulary_json
from clip_core.tokenizer.files import (
    MERGES_FILE,
    VOCABULARY_FILE,
    AddedToken,
    MergesSource,
    VocabularySource,
    load_table,
)
from clip_core.tokenizer.options import EncodeOptions, Row, Segment, Truncation
from clip_core.tokenizer.padding import Ids, pad_rows, truncate
from clip_core.tokenizer.saved import BUILTIN_MAX_LENGTH
from clip_core.tokenizer.text import (
    END_OF_TEXT,
    END_OF_WORD,
    START_OF_TEXT,
    clean_text,
    from_symbols,
    word_pattern,
)

_SINGLE_WORD = "(?<![^ ]){}(?![^ ])"


class CLIPTokenizer(TokenizerBase):
    """CLIP's byte-pair tokenizer: ftfy, HTML unescaping, lower case, words, merges.

    The rules are those of openai/CLIP, clip/simple_tokenizer.py.

    Without arguments it is the tokenizer of every CLIP that OpenAI released, with its context of 77 tokens; the table
    is part of this package.

    Args:
        vocab_file: path of a `vocab.json`, or the vocabulary itself. Goes with `merges_file`.
        merges_file: path of a `merges.txt`, or the merges themselves.
        errors: what `decode` does with bytes that are no UTF-8, as in `bytes.decode`.
        unk_token, bos_token, eos_token, pad_token: the special tokens; added to the vocabulary if it lacks them.
        model_max_length: the context of the model. Unknown, unless the built-in table is used.
        padding_side, truncation_side: "right" or "left".
        additional_special_tokens: further tokens that `skip_special_tokens` leaves out.
        clean_up_tokenization_spaces: the default of `decode`.
        allow_special_in_text: whether `<|startoftext|>` and `<|endoftext|>` written in a text become the special
            tokens, as in OpenAI's tokenizer. `<|endoftext|>` moves the position that CLIP pools, so say False for
            text from strangers: it is then split like any other.

    Raises:
        InputError: only one of the two files, or a side that is none.
        CheckpointNotFoundError, CheckpointFormatError: a file that is absent, cut or corrupt.
    """

    is_fast = False

    def __init__(
        self,
        vocab_file: VocabularySource | None = None,
        merges_file: MergesSource | None = None,
        errors: str = "replace",
        unk_token: str = END_OF_TEXT,
        bos_token: str = START_OF_TEXT,
        eos_token: str = END_OF_TEXT,
        pad_token: str = END_OF_TEXT,
        *,
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        additional_special_tokens: Sequence[str] = (),
        clean_up_tokenization_spaces: bool = False,
        allow_special_in_text: bool = True,
    ) -> None:
        if vocab_file is None and merges_file is None and model_max_length is None:
            model_max_length = BUILTIN_MAX_LENGTH
        super().__init__(
            errors=errors,
            unk_token=unk_token,
            bos_token=bos_token,
            eos_token=eos_token,
            pad_token=pad_token,
            model_max_length=model_max_length,
            padding_side=padding_side,
            truncation_side=truncation_side,
            additional_special_tokens=additional_special_tokens,
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            allow_special_in_text=allow_special_in_text,
        )
        self._vocabulary, merges = load_table(vocab_file, merges_file)
        self._encoder = BytePairEncoder(merges)
        self._ids = dict(self._vocabulary)
        self._tokens = {index: token for token, index in self._ids.items()}
        self._added: dict[int, AddedToken] = {}
        self._added_pattern: re.Pattern[str] | None = None
        self._special_words = allow_special_in_text and {START_OF_TEXT, END_OF_TEXT} <= self._ids.keys()
        self._add([AddedToken(content=token, special=True) for token in self.all_special_tokens])

    @property
    def vocab_size(self) -> int:
        return len(self._vocabulary)

    def __len__(self) -> int:
        return len(self._ids)

    def get_vocab(self) -> dict[str, int]:
        return dict(self._ids)

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return dict(sorted(self._added.items()))

    # ---- text to ids

    def _encode_rows(self, rows: list[Row], options: EncodeOptions) -> Columns:
        if options.return_offsets_mapping:
            raise InputError("return_offsets_mapping needs CLIPTokenizerFast: cleaning the text moves its characters")
        pairs = any(pair is not None for _, pair in rows)
        if options.return_overflowing_tokens and pairs and options.truncation is Truncation.LONGEST_FIRST:
            raise InputError(
                "return_overflowing_tokens of pairs needs truncation='only_first' or 'only_second': "
                "'longest_first' cuts both texts"
            )
        encoded = [self._encode_row(first, second, options) for first, second in rows]
        columns = pad_rows(
            {name: [row[name] for row in encoded] for name in encoded[0]},
            padding=options.padding,
            max_length=options.max_length,
            pad_to_multiple_of=options.pad_to_multiple_of,
            padding_side=options.padding_side,
            fillers=self._fillers(),
            return_attention_mask=options.return_attention_mask,
        )
        if options.return_length:
            columns["length"] = [len(row) for row in columns["input_ids"]]
        return columns

    def _encode_row(self, text: Segment, pair: Segment | None, options: EncodeOptions) -> dict[str, Any]:
        first, second = self._segment_ids(text), None if pair is None else self._segment_ids(pair)
        special = self.num_special_tokens_to_add(second is not None) if options.add_special_tokens else 0
        total = len(first) + len(second or ()) + special
        excess = 0 if options.max_length is None else total - options.max_length
        overflow: Ids = []
        if options.truncation is not Truncation.NONE and excess > 0:
            first, second, overflow = truncate(
                first, second, excess, options.truncation, self.truncation_side, options.stride
            )
        row: dict[str, Any] = {}
        row["input_ids"] = self.build_inputs_with_special_tokens(first, second) if special else first + (second or [])
        if options.return_token_type_ids:
            row["token_type_ids"] = [0] * len(row["input_ids"])
        if options.return_special_tokens_mask:
            row["special_tokens_mask"] = (
                self.get_special_tokens_mask(first, second) if special else [0] * len(row["input_ids"])
            )
        if options.return_overflowing_tokens:
            row |= {"overflowing_tokens": overflow, "num_truncated_tokens": excess}
        return row

    def _segment_ids(self, segment: Segment) -> Ids:
        words = (segment,) if isinstance(segment, str) else segment
        unknown = self.unk_token_id
        return [self._ids.get(token, unknown) for word in words for token in self._tokens_of(word)]

    def _tokens_of(self, text: str) -> list[str]:
        if self._added_pattern is None:
            return self._tokens_between(text)
        tokens: list[str] = []
        for position, part in enumerate(self._added_pattern.split(text)):
            tokens.extend([part] if position % 2 else self._tokens_between(part))  # the captured tokens stand between
        return tokens

    def _tokens_between(self, text: str) -> list[str]:
        tokens: list[str] = []
        for word in word_pattern(self._special_words).findall(clean_text(text)):
            if self._special_words and word in (START_OF_TEXT, END_OF_TEXT):
                tokens.append(word)
            else:
                tokens.extend(self._encoder.split(word))
        return tokens

    # ---- ids and tokens

    def _token_to_id(self, token: str) -> int | None:
        return self._ids.get(token)

    def _id_to_token(self, index: int) -> str | None:
        return self._tokens.get(index)

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        return from_symbols("".join(tokens), self.errors).replace(END_OF_WORD, " ").strip()

    def _join(self, ids: list[int], skip_special_tokens: bool) -> str:
        """The text of ids, with a space around every added token, which is no part of a word."""
        named = {self.bos_token, self.eos_token, self.unk_token, self.pad_token}
        alone = {token.content for token in self._added.values()} - named
        texts: list[str] = []
        tokens = self.convert_ids_to_tokens(ids, skip_special_tokens)
        for stands_alone, group in groupby(tokens, alone.__contains__):
            run = list(group)
            texts.extend(run if stands_alone else [self.convert_tokens_to_string(run)])
        return " ".join(filter(None, texts))

    def _add(self, tokens: Sequence[AddedToken]) -> int:
        before = len(self._ids)
        for token in tokens:
            index = self._ids.get(token.content)
            self._place(token, max(self._tokens, default=-1) + 1 if index is None else index)
        self._find_added_tokens()
        return len(self._ids) - before

    def _restore(self, added: Mapping[int, AddedToken]) -> None:
        for index, token in added.items():
            if self._tokens.get(index, token.content) != token.content:
                raise CheckpointFormatError(
                    f"expected id {index} to be free for the added token {token.content!r}, "
                    f"it is {self._tokens[index]!r} in the vocabulary"
                )
            self._place(token, index)
        self._find_added_tokens()

    def _place(self, token: AddedToken, index: int) -> None:
        self._ids[token.content] = index
        self._tokens[index] = token.content
        self._added[index] = token

    def _find_added_tokens(self) -> None:
        """Compile what finds added tokens in a text, the longest first; the word pattern finds OpenAI's own two."""
        tokens = [
            token
            for token in self._added.values()
            if not (self._special_words and token.content in (START_OF_TEXT, END_OF_TEXT))
            and (self.allow_special_in_text or not token.special)
        ]
        tokens.sort(key=lambda token: len(token.content), reverse=True)
        patterns = [
            _SINGLE_WORD.format(re.escape(t.content)) if t.single_word else re.escape(t.content) for t in tokens
        ]
        self._added_pattern = re.compile(f"({'|'.join(patterns)})") if patterns else None

    # ---- files

    @classmethod
    def _from_table(cls, vocabulary: dict[str, int], merges: list[Merge], settings: Mapping[str, Any]) -> Self:
        return cls(vocabulary, merges, **settings)

    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, str]:
        """Write `vocab.json` and `merges.txt` as transformers' `CLIPTokenizer` lays them out; their paths."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        vocabulary = Path(save_directory) / f"{prefix}{VOCABULARY_FILE}"
        merges = Path(save_directory) / f"{prefix}{MERGES_FILE}"
        write_text_atomically(vocabulary, vocabulary_json(self._vocabulary))
        write_text_atomically(merges, merges_text(self._encoder.merges))
        return str(vocabulary), str(merges)
