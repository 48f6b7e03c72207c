"""The tokenizer of the Rust library `tokenizers`: transformers' fast ids, with offsets.

It cleans text less than OpenAI's (no ftfy, no HTML unescaping), so about 2 % of multilingual captions get other ids
than from `CLIPTokenizer`, among them every text with curly quotes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from clip_core.batch import BatchEncoding
from clip_core.checkpoint.files import write_text_atomically, written_beside
from clip_core.errors import CheckpointFormatError, InputError
from clip_core.tokenizer.base import Columns, TokenizerBase
from clip_core.tokenizer.bpe import Merge, merges_text
from clip_core.tokenizer.files import (
    MERGES_FILE,
    TOKENIZER_FILE,
    VOCABULARY_FILE,
    AddedToken,
    MergesSource,
    VocabularySource,
    load_table,
)
from clip_core.tokenizer.options import EncodeOptions, Padding, Row, Truncation
from clip_core.tokenizer.rust import build_backend, read_backend, surround
from clip_core.tokenizer.saved import BUILTIN_MAX_LENGTH
from clip_core.tokenizer.text import END_OF_TEXT, END_OF_WORD, START_OF_TEXT

if TYPE_CHECKING:
    import tokenizers


class CLIPTokenizerFast(TokenizerBase):
    """The `CLIPTokenizerFast` of transformers 4.57, id for id. Needs `pip install 'triclip[fast]'`.

    Without arguments it has CLIP's own table and a context of 77 tokens. Arguments as for `CLIPTokenizer`, and
    `tokenizer_file`, the path of a `tokenizer.json` that is used instead of the table.

    Raises:
        MissingExtraError: the `tokenizers` library is not installed.
        InputError: only one of `vocab_file` and `merges_file`, or a side that is none.
        CheckpointNotFoundError, CheckpointFormatError: a file that is absent, cut, corrupt or not of CLIP.
    """

    is_fast = True

    def __init__(
        self,
        vocab_file: VocabularySource | None = None,
        merges_file: MergesSource | None = None,
        tokenizer_file: str | PathLike[str] | None = None,
        unk_token: str = END_OF_TEXT,
        bos_token: str = START_OF_TEXT,
        eos_token: str = END_OF_TEXT,
        pad_token: str = END_OF_TEXT,
        *,
        errors: str = "replace",
        model_max_length: int | None = None,
        padding_side: str = "right",
        truncation_side: str = "right",
        additional_special_tokens: Sequence[str] = (),
        clean_up_tokenization_spaces: bool = False,
        allow_special_in_text: bool = True,
    ) -> None:
        if vocab_file is None and merges_file is None and tokenizer_file is None and model_max_length is None:
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
        # Cutting and padding are settings of the Rust object, so one call at a time may hold them.
        self._lock = threading.Lock()
        if tokenizer_file is not None:
            self.backend_tokenizer = read_backend(Path(tokenizer_file))
            self._add_special_tokens()
        else:
            self.backend_tokenizer = build_backend(*load_table(vocab_file, merges_file), unk_token)
            self._add_special_tokens()
            surround(self.backend_tokenizer, bos_token, eos_token)
        self.backend_tokenizer.encode_special_tokens = not allow_special_in_text

    def _add_special_tokens(self) -> None:
        known = self.added_tokens_encoder
        missing = [token for token in self.all_special_tokens if token not in known]
        self._add([AddedToken(content=token, special=True) for token in missing])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    @property
    def vocab_size(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=False))

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size(with_added_tokens=True))

    def get_vocab(self) -> dict[str, int]:
        return dict(self.backend_tokenizer.get_vocab(with_added_tokens=True))

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        return {
            index: AddedToken.of(token)
            for index, token in sorted(self.backend_tokenizer.get_added_tokens_decoder().items())
        }

    # ---- text to ids

    def _encode_rows(self, rows: list[Row], options: EncodeOptions) -> Columns:
        inputs = [first if second is None else (first, second) for first, second in rows]
        try:
            with self._lock:
                self._set_truncation(options)
                self._set_padding(options)
                encodings = self.backend_tokenizer.encode_batch(
                    inputs, is_pretokenized=options.is_split_into_words, add_special_tokens=options.add_special_tokens
                )
        except BaseException as error:
            # The Rust library raises plain Exception, and panics, which are no Exception, at a stride too large.
            if isinstance(error, Exception) or type(error).__module__ == "pyo3_runtime":
                raise InputError(f"the texts cannot be encoded with these arguments: {error}") from None
            raise
        pieces = [(index, piece) for index, encoding in enumerate(encodings) for piece in _pieces(encoding, options)]
        return _columns(pieces, options)

    def _set_truncation(self, options: EncodeOptions) -> None:
        if options.truncation is Truncation.NONE:
            self.backend_tokenizer.no_truncation()
            return
        self.backend_tokenizer.enable_truncation(
            options.max_length,
            stride=options.stride,
            strategy=options.truncation.value,
            direction=self.truncation_side,
        )

    def _set_padding(self, options: EncodeOptions) -> None:
        if options.padding is Padding.NONE:
            self.backend_tokenizer.no_padding()
            return
        self.backend_tokenizer.enable_padding(
            length=options.max_length if options.padding is Padding.MAX_LENGTH else None,
            direction=options.padding_side,
            pad_id=self.pad_token_id,
            pad_token=self.pad_token,
            pad_type_id=self.pad_token_type_id,
            pad_to_multiple_of=options.pad_to_multiple_of,
        )

    def _single(self, columns: Columns, options: EncodeOptions, return_tensors: str | None) -> BatchEncoding:
        if options.return_overflowing_tokens:
            return BatchEncoding(columns, return_tensors)  # one text, but a row for each piece of it
        if return_tensors is not None:
            return super()._single(columns, options, return_tensors)
        # As in transformers, `length` stays a list of one.
        return BatchEncoding(
            {name: value[0] if isinstance(value[0], list) else value for name, value in columns.items()}
        )

    def _tokens_of(self, text: str) -> list[str]:
        with self._lock:
            self.backend_tokenizer.no_truncation()
            self.backend_tokenizer.no_padding()
            return list(self.backend_tokenizer.encode(text, add_special_tokens=False).tokens)

    # ---- ids and tokens

    def _token_to_id(self, token: str) -> int | None:
        index: int | None = self.backend_tokenizer.token_to_id(token)
        return index

    def _id_to_token(self, index: int) -> str | None:
        token: str | None = self.backend_tokenizer.id_to_token(index)
        return token

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        """The text behind tokens, `</w>` still in it, as the fast tokenizer of transformers gives it."""
        return str(self.backend_tokenizer.decoder.decode(tokens))

    def _join(self, ids: list[int], skip_special_tokens: bool) -> str:
        text: str = self.backend_tokenizer.decode(ids, skip_special_tokens=skip_special_tokens)
        return text.replace(END_OF_WORD, " ").strip()

    def _add(self, tokens: Sequence[AddedToken]) -> int:
        import tokenizers

        return int(self.backend_tokenizer.add_tokens([tokenizers.AddedToken(**asdict(token)) for token in tokens]))

    def _restore(self, added: Mapping[int, AddedToken]) -> None:
        known = self.added_tokens_decoder
        for index, token in sorted(added.items()):
            if known.get(index) == token:
                continue
            self._add([token])
            if self._token_to_id(token.content) != index:
                raise CheckpointFormatError(
                    f"expected the added token {token.content!r} to get id {index}, the next free one is "
                    f"{self._token_to_id(token.content)}: added tokens must follow the vocabulary without a gap"
                )

    # ---- files

    @classmethod
    def _from_directory(cls, directory: Path, settings: Mapping[str, Any]) -> Self:
        if (directory / TOKENIZER_FILE).exists():
            return cls(tokenizer_file=directory / TOKENIZER_FILE, **settings)
        return super()._from_directory(directory, settings)

    @classmethod
    def _from_table(cls, vocabulary: dict[str, int], merges: list[Merge], settings: Mapping[str, Any]) -> Self:
        return cls(vocabulary, merges, **settings)

    def save_vocabulary(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, str]:
        """Write `vocab.json` and `merges.txt` as transformers' `CLIPTokenizerFast` lays them out; their paths."""
        state = json.loads(self.backend_tokenizer.to_str())["model"]
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        vocabulary = Path(save_directory) / f"{prefix}{VOCABULARY_FILE}"
        merges = Path(save_directory) / f"{prefix}{MERGES_FILE}"
        write_text_atomically(vocabulary, json.dumps(state["vocab"], separators=(",", ":"), ensure_ascii=False))
        write_text_atomically(merges, merges_text(state["merges"]))
        return str(vocabulary), str(merges)

    def save_pretrained(
        self, save_directory: str | PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, ...]:
        """Write the tokenizer's files, `tokenizer.json` among them, as transformers 4 reads them; their paths."""
        paths = super().save_pretrained(save_directory, filename_prefix)
        path = Path(save_directory) / f"{filename_prefix + '-' if filename_prefix else ''}{TOKENIZER_FILE}"
        with self._lock, written_beside(path) as temporary:
            self.backend_tokenizer.no_truncation()
            self.backend_tokenizer.no_padding()
            self.backend_tokenizer.save(str(temporary))
        return (*paths, str(path))


def _pieces(encoding: tokenizers.Encoding, options: EncodeOptions) -> list[tokenizers.Encoding]:
    return [encoding, *encoding.overflowing] if options.return_overflowing_tokens else [encoding]


def _columns(pieces: list[tuple[int, tokenizers.Encoding]], options: EncodeOptions) -> Columns:
    columns: Columns = {"input_ids": [piece.ids for _, piece in pieces]}
    if options.return_token_type_ids:
        columns["token_type_ids"] = [piece.type_ids for _, piece in pieces]
    if options.return_attention_mask:
        columns["attention_mask"] = [piece.attention_mask for _, piece in pieces]
    if options.return_special_tokens_mask:
        columns["special_tokens_mask"] = [piece.special_tokens_mask for _, piece in pieces]
    if options.return_offsets_mapping:
        columns["offset_mapping"] = [piece.offsets for _, piece in pieces]
    if options.return_length:
        columns["length"] = [len(piece.ids) for _, piece in pieces]
    if options.return_overflowing_tokens:
        columns["overflow_to_sample_mapping"] = [index for index, _ in pieces]
    return columns
