"""The tokenizer of the Rust library `tokenizers`: transformers' fast ids, with offsets.

It cleans text less than OpenAI's (no ftfy, no HTML unescaping), so about 2 % of multilingual captions get other ids
than from `CLIPTokenizer`, among them every text with curly quotes.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from clip_core.checkpoint.files import written_beside
from clip_core.errors import InputError
from clip_core.tokenizer.files import TOKENIZER_FILE, MergesSource, VocabularySource, load_table, path_of
from clip_core.tokenizer.rust import RustPipeline, build_backend, read_backend
from clip_core.tokenizer.settings import BUILTIN_MAX_LENGTH, NO_MAX_LENGTH, TokenizerSettings
from clip_core.tokenizer.surface import Tokenizer
from clip_core.tokenizer.text import END_OF_TEXT, START_OF_TEXT, check_clean

if TYPE_CHECKING:
    import tokenizers


class CLIPTokenizerFast(Tokenizer):
    """The `CLIPTokenizerFast` of transformers 4.57, id for id. Needs `pip install 'triclip[fast]'`.

    Without arguments it has CLIP's own table and a context of 77 tokens. Arguments as for `CLIPTokenizer`, and
    `tokenizer_file`, the path of a `tokenizer.json` that is used instead of the table. It cleans in one way only, so
    `clean` has to be "lower".

    Raises:
        MissingExtraError: the `tokenizers` library is not installed.
        InputError: only one of `vocab_file` and `merges_file`, a side that is none, another way to clean, an id that is
            none.
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
        clean: str = "lower",
        pad_id: int | None = None,
    ) -> None:
        check_clean(clean)
        if clean != "lower":
            raise InputError(f"clean={clean!r} needs CLIPTokenizer: the fast one has no other way than its own")
        builtin = vocab_file is None and merges_file is None and tokenizer_file is None
        if model_max_length is None:
            model_max_length = BUILTIN_MAX_LENGTH if builtin else NO_MAX_LENGTH
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
        if tokenizer_file is not None:
            self._pipeline = RustPipeline(read_backend(Path(tokenizer_file)))
        else:
            self._pipeline = RustPipeline(build_backend(*load_table(vocab_file, merges_file), unk_token))
        super().__init__(settings, self._pipeline, self._pipeline)
        if tokenizer_file is None:
            self._pipeline.surround(bos_token, eos_token)
        self.backend_tokenizer.encode_special_tokens = not allow_special_in_text

    @property
    def backend_tokenizer(self) -> tokenizers.Tokenizer:
        """The object of the Rust library."""
        return self._pipeline.backend

    def _write(self, directory: Path, filename_prefix: str | None) -> tuple[str, ...]:
        """Also `tokenizer.json`."""
        path = path_of(TOKENIZER_FILE, directory, filename_prefix)
        paths = super()._write(directory, filename_prefix)
        with written_beside(path) as temporary:
            self._pipeline.save(temporary)
        return (*paths, str(path))
