"""The tokenizer of record: OpenAI's, id for id."""

from __future__ import annotations

from collections.abc import Sequence

from clip_core.tokenizer.files import MergesSource, VocabularySource, load_table
from clip_core.tokenizer.openai import OpenAIEncoder
from clip_core.tokenizer.settings import BUILTIN_MAX_LENGTH, NO_MAX_LENGTH, TokenizerSettings
from clip_core.tokenizer.surface import Tokenizer
from clip_core.tokenizer.table import TokenTable
from clip_core.tokenizer.text import END_OF_TEXT, START_OF_TEXT


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
        )
        vocabulary, merges = load_table(vocab_file, merges_file)
        table = TokenTable(vocabulary)
        super().__init__(settings, table, OpenAIEncoder(table, merges, settings))
        self.merges = merges
