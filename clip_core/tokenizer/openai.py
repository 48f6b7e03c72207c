"""The encoder of record: OpenAI's rules, id for id (openai/CLIP, clip/simple_tokenizer.py)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain, groupby
from typing import Any

from clip_core.errors import InputError
from clip_core.tokenizer.bpe import BytePairEncoder, Merge, merges_text, vocabulary_json
from clip_core.tokenizer.options import EncodeOptions, Row, Segment, Truncation
from clip_core.tokenizer.remembered import Known
from clip_core.tokenizer.rows import Columns, Ids, fillers, pad_rows, special_mask, surround, truncate
from clip_core.tokenizer.settings import TokenizerSettings
from clip_core.tokenizer.table import AddedToken, TokenTable, known_id
from clip_core.tokenizer.text import (
    END_OF_WORD,
    SPECIAL_PAIRS,
    check_clean,
    clean_pieces,
    clean_text,
    from_symbols,
    word_pattern,
)

_SINGLE_WORD = "(?<![^ ]){}(?![^ ])"


class OpenAIEncoder:
    """Text to ids and back: ftfy, HTML unescaping, lower case, words, merges.

    Args:
        table: the ids; tokens may be added to it later.
        merges: how words are put together from symbols.
        settings: the special tokens, how texts are cleaned, what to do with broken UTF-8; read at each call.

    Raises:
        InputError: an unknown way to clean.
    """

    def __init__(self, table: TokenTable, merges: list[Merge], settings: TokenizerSettings) -> None:
        check_clean(settings.clean)
        self._table = table
        self._settings = settings
        self._words = BytePairEncoder(merges)
        self._takes_special = not settings.split_special_tokens
        pairs = [pair for pair in SPECIAL_PAIRS if self._takes_special and table.vocabulary.keys() >= set(pair)]
        self._special_words: tuple[str, ...] = pairs[0] if pairs else ()
        self._added: dict[int, AddedToken] = {}
        self._added_pattern: re.Pattern[str] | None = None
        self._ids: Known[tuple[int, ...]] = Known(self._ids_of_piece)
        self._ids_added: dict[int, AddedToken] = {}
        self._ids_unknown = settings.unk_token

    # ---- text to ids

    def encode(self, rows: list[Row], options: EncodeOptions) -> Columns:
        """Encode, cut and pad; one entry per row in every column.

        Raises:
            InputError: offsets, or the overflow of both texts of a pair; a row that cannot be cut to its length.
        """
        if options.return_offsets_mapping:
            raise InputError("return_offsets_mapping needs CLIPTokenizerFast: cleaning the text moves its characters")
        pairs = any(pair is not None for _, pair in rows)
        if options.return_overflowing_tokens and pairs and options.truncation is Truncation.LONGEST_FIRST:
            raise InputError(
                "return_overflowing_tokens of pairs needs truncation='only_first' or 'only_second': "
                "'longest_first' cuts both texts"
            )
        around = self._around(options)
        if options.only_ids and not pairs:
            encoded: Columns = {"input_ids": self._encode_texts([text for text, _ in rows], around, options)}
        else:
            whole = [self._encode_row(first, second, around, options) for first, second in rows]
            encoded = {name: [row[name] for row in whole] for name in whole[0]}
        columns = pad_rows(
            encoded,
            padding=options.padding,
            max_length=options.max_length,
            pad_to_multiple_of=options.pad_to_multiple_of,
            padding_side=options.padding_side,
            fillers=fillers(options.pad_token_id),
            return_attention_mask=options.return_attention_mask,
            as_arrays=options.as_arrays,
        )
        if options.return_length:
            columns["length"] = [len(row) for row in columns["input_ids"]]
        return columns

    def _encode_texts(self, texts: list[Any], around: tuple[int, int] | None, options: EncodeOptions) -> list[Ids]:
        """As `_encode_row`, for single texts of which only the ids are wanted."""
        start, end = ([], []) if around is None else ([around[0]], [around[1]])
        room = None
        if options.truncation is not Truncation.NONE and options.max_length is not None:
            room = options.max_length - len(start) - len(end)
        rows = []
        for text in texts:
            ids = self._ids_of_text(text)
            if room is not None and len(ids) > room:
                ids = ids[len(ids) - room :] if options.truncation_side == "left" else ids[:room]
            rows.append(start + ids + end)
        return rows

    def _encode_row(
        self, text: Segment, pair: Segment | None, around: tuple[int, int] | None, options: EncodeOptions
    ) -> dict[str, Any]:
        first, second = self._ids_of(text), None if pair is None else self._ids_of(pair)
        ids = _laid_out(first, second, around)
        excess = 0 if options.max_length is None else len(ids) - options.max_length
        overflow: Ids = []
        if options.truncation is not Truncation.NONE and excess > 0:
            first, second, overflow = truncate(
                first, second, excess, options.truncation, options.truncation_side, options.stride
            )
            ids = _laid_out(first, second, around)
        row: dict[str, Any] = {"input_ids": ids}
        if options.return_token_type_ids:
            row["token_type_ids"] = [0] * len(ids)
        if options.return_special_tokens_mask:
            row["special_tokens_mask"] = special_mask(first, second) if options.add_special_tokens else [0] * len(ids)
        if options.return_overflowing_tokens:
            row |= {"overflowing_tokens": overflow, "num_truncated_tokens": excess}
        return row

    def _around(self, options: EncodeOptions) -> tuple[int, int] | None:
        """The ids of the tokens that begin and end a row, if it is to have them."""
        if not options.add_special_tokens:
            return None
        return self._known_id(self._settings.bos_token), self._known_id(self._settings.eos_token)

    def _known_id(self, token: str) -> int:
        return known_id(self._table.id_of, token, self._settings.unk_token)

    def _ids_of(self, segment: Segment) -> Ids:
        if isinstance(segment, str):
            return self._ids_of_text(segment)
        return [index for word in segment for index in self._ids_of_text(word)]

    def _ids_of_text(self, text: str) -> Ids:
        pattern = self._pattern_of_added()
        if pattern is None:
            return self._ids_between(text)
        ids: Ids = []
        for position, part in enumerate(pattern.split(text)):
            ids += [self._known_id(part)] if position % 2 else self._ids_between(part)
        return ids

    def _ids_between(self, text: str) -> Ids:
        """Ids of a text without added tokens; no word has a space, so what stands between two is encoded by itself."""
        pieces = clean_pieces(text, self._settings.clean)
        return list(chain.from_iterable(map(self._known_ids().__getitem__, pieces)))

    def _ids_of_piece(self, piece: str) -> tuple[int, ...]:
        ids, ended = self._table.ids, piece + END_OF_WORD
        if ended in self._words.whole and ended in ids and piece.isascii() and piece.isalpha():
            return (ids[ended],)
        return tuple([ids[token] if token in ids else self._known_id(token) for token in self._tokens_of(piece)])

    def _known_ids(self) -> Known[tuple[int, ...]]:
        """Of pieces between spaces; begun anew when tokens are added or another stands for the unknown."""
        if self._ids_added is not self._table.added or self._ids_unknown != self._settings.unk_token:
            self._ids, self._ids_added = Known(self._ids_of_piece), self._table.added
            self._ids_unknown = self._settings.unk_token
        return self._ids

    def unbatch(self, columns: Columns) -> dict[str, Any]:
        """The columns of one text without batch axis."""
        return {name: column[0] for name, column in columns.items()}

    def tokenize(self, text: str) -> list[str]:
        """The tokens of one text, without special ones around it."""
        pattern = self._pattern_of_added()
        if pattern is None:
            return self._tokens_between(text)
        tokens: list[str] = []
        for position, part in enumerate(pattern.split(text)):
            tokens.extend([part] if position % 2 else self._tokens_between(part))  # the captured tokens stand between
        return tokens

    def _tokens_between(self, text: str) -> list[str]:
        return list(self._tokens_of(clean_text(text, self._settings.clean)))

    def _tokens_of(self, clean: str) -> Sequence[str]:
        if clean.isascii() and clean.isalpha():
            return self._words.split(clean)  # it is one word
        tokens: list[str] = []
        for word in word_pattern(self._special_words).findall(clean):
            if word in self._special_words:
                tokens.append(word)
            else:
                tokens.extend(self._words.split(word))
        return tokens

    def _pattern_of_added(self) -> re.Pattern[str] | None:
        """What finds added tokens in a text, the longest first; the word pattern finds the special words."""
        if self._added is self._table.added:
            return self._added_pattern
        added = self._table.added
        tokens = [
            token
            for token in added.values()
            if token.content not in self._special_words and (self._takes_special or not token.special)
        ]
        tokens.sort(key=lambda token: len(token.content), reverse=True)
        patterns = [
            _SINGLE_WORD.format(re.escape(t.content)) if t.single_word else re.escape(t.content) for t in tokens
        ]
        pattern = re.compile(f"({'|'.join(patterns)})") if patterns else None
        self._added_pattern, self._added = pattern, added
        return pattern

    # ---- ids to text

    def decode(self, ids: Ids, skip_special_tokens: bool) -> str:
        """The text of known ids, with a space around every added token, which is no part of a word."""
        skipped = set(self._settings.all_special_tokens()) if skip_special_tokens else set()
        named = self._settings.named_special_tokens().values()
        alone = {token.content for token in self._table.added.values()}.difference(named)
        tokens = [token for token in map(self._table.token_of, ids) if token is not None and token not in skipped]
        texts: list[str] = []
        for stands_alone, group in groupby(tokens, alone.__contains__):
            run = list(group)
            texts.extend(run if stands_alone else [self.join(run)])
        return " ".join(filter(None, texts))

    def join(self, tokens: list[str]) -> str:
        """The text behind tokens."""
        return from_symbols("".join(tokens), self._settings.errors).replace(END_OF_WORD, " ").strip()

    def saved_table(self) -> tuple[str, str]:
        """The texts of `vocab.json` and `merges.txt` as transformers' `CLIPTokenizer` lays them out."""
        return vocabulary_json(self._table.vocabulary), merges_text(self._words.merges)


def _laid_out(first: Ids, second: Ids | None, around: tuple[int, int] | None) -> Ids:
    return first + (second or []) if around is None else surround(first, second, *around)
