"""The Rust library `tokenizers` as token table and encoder, built from a table or read from a `tokenizer.json`."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, InputError, MissingExtraError
from clip_core.tokenizer.bpe import Merge, merges_text
from clip_core.tokenizer.options import EncodeOptions, Padding, Row, Truncation
from clip_core.tokenizer.rows import PAD_TOKEN_TYPE_ID, Columns, Ids
from clip_core.tokenizer.table import AddedToken
from clip_core.tokenizer.text import END_OF_WORD, WORD_PATTERN

if TYPE_CHECKING:
    import tokenizers


def _import_tokenizers() -> None:
    try:
        import tokenizers  # noqa: F401
    except ImportError:
        raise MissingExtraError("tokenizers", "fast", "CLIPTokenizerFast") from None


def read_backend(path: Path) -> tokenizers.Tokenizer:
    """The pipeline of a `tokenizer.json`.

    Raises:
        MissingExtraError: the `tokenizers` library is not installed.
        CheckpointNotFoundError, CheckpointFormatError: no such file, or it is cut, corrupt or too old.
    """
    _import_tokenizers()
    from tokenizers import Tokenizer, pre_tokenizers

    if not path.is_file():
        raise CheckpointNotFoundError(f"{path}: no such file")
    try:
        backend = Tokenizer.from_file(str(path))
    except Exception as error:  # the Rust library raises plain Exception, with the line and column in it
        raise CheckpointFormatError(f"{path}: expected a tokenizer.json, got {error}. Fetch the file again.") from None
    if not isinstance(backend.pre_tokenizer, pre_tokenizers.Sequence):
        raise CheckpointFormatError(
            f"{path}: expected a pre-tokenizer that is a sequence, got {type(backend.pre_tokenizer).__name__}; "
            "the file is older than transformers 4.17. Remove it to use vocab.json and merges.txt instead."
        )
    return backend


def build_backend(vocabulary: dict[str, int], merges: list[Merge], unk_token: str) -> tokenizers.Tokenizer:
    """The pipeline that transformers 4.57 builds from a CLIP table, but for the tokens around a text.

    Raises:
        MissingExtraError: the `tokenizers` library is not installed.
    """
    _import_tokenizers()
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix=END_OF_WORD,
            fuse_unk=False,
            unk_token=unk_token,
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    return backend


class RustPipeline:
    """A token table and an encoder in one object, as the library keeps them.

    Cutting and padding are settings of the Rust object, so one call at a time may hold them: threads take turns.
    """

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        self.backend = backend
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"backend": self.backend}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.backend = state["backend"]
        self._lock = threading.Lock()

    def surround(self, bos_token: str, eos_token: str) -> None:
        """Put the two tokens, which must be in the vocabulary, around every text."""
        from tokenizers import processors

        self.backend.post_processor = processors.RobertaProcessing(
            sep=(eos_token, self.backend.token_to_id(eos_token)),
            cls=(bos_token, self.backend.token_to_id(bos_token)),
            add_prefix_space=False,
            trim_offsets=False,
        )

    # ---- the token table

    @property
    def vocab_size(self) -> int:
        """Number of tokens without added ones."""
        return int(self.backend.get_vocab_size(with_added_tokens=False))

    def __len__(self) -> int:
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    @property
    def ids(self) -> dict[str, int]:
        """Every token with its id, added ones included."""
        return dict(self.backend.get_vocab(with_added_tokens=True))

    @property
    def added(self) -> dict[int, AddedToken]:
        """The tokens taken out of a text before it is split into words, special ones included, by id."""
        return {index: AddedToken.of(token) for index, token in sorted(self.backend.get_added_tokens_decoder().items())}

    def id_of(self, token: str) -> int | None:
        """The id of a token, if there is such a token."""
        index: int | None = self.backend.token_to_id(token)
        return index

    def token_of(self, index: int) -> str | None:
        """The token of an id of 0 or more, if there is such an id."""
        token: str | None = self.backend.id_to_token(index)
        return token

    def add(self, tokens: Sequence[AddedToken]) -> int:
        """Add tokens, those that are new at the end of the vocabulary; how many were new."""
        import tokenizers

        return int(self.backend.add_tokens([tokenizers.AddedToken(**asdict(token)) for token in tokens]))

    def restore(self, added: Mapping[int, AddedToken]) -> None:
        """Add saved tokens under the ids that they had.

        Raises:
            CheckpointFormatError: the library gives one another id.
        """
        known = self.added
        for index, token in sorted(added.items()):
            if known.get(index) == token:
                continue
            self.add([token])
            if self.id_of(token.content) != index:
                raise CheckpointFormatError(
                    f"expected the added token {token.content!r} to get id {index}, the next free one is "
                    f"{self.id_of(token.content)}: added tokens must follow the vocabulary without a gap"
                )

    # ---- the encoder

    def encode(self, rows: list[Row], options: EncodeOptions) -> Columns:
        """Encode, cut and pad; one entry per row in every column, or one per piece when a row overflows.

        Raises:
            InputError: what the library refuses, in its words.
        """
        inputs = [first if second is None else (first, second) for first, second in rows]
        try:
            with self._lock:
                self._set_truncation(options)
                self._set_padding(options)
                encodings = self.backend.encode_batch(
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
            self.backend.no_truncation()
            return
        self.backend.enable_truncation(
            options.max_length,
            stride=options.stride,
            strategy=options.truncation.value,
            direction=options.truncation_side,
        )

    def _set_padding(self, options: EncodeOptions) -> None:
        if options.padding is Padding.NONE:
            self.backend.no_padding()
            return
        self.backend.enable_padding(
            length=options.max_length if options.padding is Padding.MAX_LENGTH else None,
            direction=options.padding_side,
            pad_id=options.pad_token_id,
            pad_token=self.token_of(options.pad_token_id),
            pad_type_id=PAD_TOKEN_TYPE_ID,
            pad_to_multiple_of=options.pad_to_multiple_of,
        )

    def unbatch(self, columns: Columns) -> dict[str, Any]:
        """The columns of one text without batch axis, unless it overflowed into rows; `length` stays a list of one."""
        if "overflow_to_sample_mapping" in columns:
            return columns
        return {name: column[0] if isinstance(column[0], list) else column for name, column in columns.items()}

    def tokenize(self, text: str) -> list[str]:
        """The tokens of one text, without special ones around it."""
        with self._lock:
            self.backend.no_truncation()
            self.backend.no_padding()
            return list(self.backend.encode(text, add_special_tokens=False).tokens)

    def decode(self, ids: Ids, skip_special_tokens: bool) -> str:
        """The text of known ids."""
        text: str = self.backend.decode(ids, skip_special_tokens=skip_special_tokens)
        return text.replace(END_OF_WORD, " ").strip()

    def join(self, tokens: list[str]) -> str:
        """The text behind tokens, `</w>` still in it, as the fast tokenizer of transformers gives it."""
        return str(self.backend.decoder.decode(tokens))

    # ---- files

    def saved_table(self) -> tuple[str, str]:
        """The texts of `vocab.json` and `merges.txt` as transformers' `CLIPTokenizerFast` lays them out."""
        model = json.loads(self.backend.to_str())["model"]
        vocabulary = json.dumps(model["vocab"], separators=(",", ":"), ensure_ascii=False)
        return vocabulary, merges_text(model["merges"])

    def save(self, path: Path) -> None:
        """Write everything as a `tokenizer.json`."""
        with self._lock:
            self.backend.no_truncation()
            self.backend.no_padding()
            self.backend.save(str(path))


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
