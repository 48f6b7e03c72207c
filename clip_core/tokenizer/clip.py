"""The tokenizer of record: OpenAI's, id for id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from clip_core.tokenizer.bpe import builtin_table
from clip_core.tokenizer.files import MergesSource, VocabularySource, load_table
from clip_core.tokenizer.openai import OpenAIEncoder
from clip_core.tokenizer.settings import BUILTIN_MAX_LENGTH, NO_MAX_LENGTH, TokenizerSettings
from clip_core.tokenizer.surface import Tokenizer
from clip_core.tokenizer.table import TokenTable
from clip_core.tokenizer.text import END_OF_TEXT, OPEN_CLIP_END, OPEN_CLIP_START, START_OF_TEXT


class CLIPTokenizer(Tokenizer):
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
        clean: what is done to a text beside repairing and unescaping it: "lower" for lower case, as OpenAI's tokenizer;
            "whitespace" for nothing, "canonicalize" for lower case without punctuation, as open_clip's by these names.
        pad_id: the id that fills short rows, instead of that of `pad_token`. OpenAI's and open_clip's tokenizers fill
            with 0, which is also the token "!"; where it is the `pad_token`, every "!" of a text becomes it.

    Raises:
        InputError: only one of the two files, a side that is none, an unknown way to clean, an id that is none.
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
        clean: str = "lower",
        pad_id: int | None = None,
    ) -> None:
        if model_max_length is None:
            model_max_length = BUILTIN_MAX_LENGTH if vocab_file is None and merges_file is None else NO_MAX_LENGTH
        settings = TokenizerSettings(
            errors=errors,
            unk_token=unk_token,
            bos_token=bos_token,
            eos_token=eos_token,
            pad_token=pad_token,
            model_max_length=int(model_max_length),
            padding_side=padding_side,
            truncation_side=truncation_side,
            additional_special_tokens=list(additional_special_tokens),
            clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            split_special_tokens=not allow_special_in_text,
            clean=clean,
            pad_id=pad_id,
        )
        vocabulary, merges = load_table(vocab_file, merges_file)
        table = TokenTable(vocabulary)
        super().__init__(settings, table, OpenAIEncoder(table, merges, settings))
        self.merges = merges

    @classmethod
    def from_open_clip(cls, context_length: int = BUILTIN_MAX_LENGTH, clean: str = "lower") -> Self:
        """The `SimpleTokenizer` of open_clip, id for id.

        The table is the same; the special tokens are spelt `<start_of_text>` and `<end_of_text>`, so that it is these
        two which stand for them in a text, and short rows are filled with 0. What open_clip's call returns is
        `tokenizer(texts, padding="max_length", truncation=True)["input_ids"]`.

        Args:
            context_length: tokens of a row.
            clean: as of the constructor.

        Raises:
            InputError: an unknown way to clean.
        """
        vocabulary, merges = builtin_table()
        start, end = vocabulary.pop(START_OF_TEXT), vocabulary.pop(END_OF_TEXT)
        vocabulary |= {OPEN_CLIP_START: start, OPEN_CLIP_END: end}
        return cls(
            vocabulary,
            merges,
            unk_token=OPEN_CLIP_END,
            bos_token=OPEN_CLIP_START,
            eos_token=OPEN_CLIP_END,
            pad_token=OPEN_CLIP_END,
            model_max_length=context_length,
            clean=clean,
            pad_id=0,
        )
