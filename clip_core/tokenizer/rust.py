"""The pipeline of the Rust library `tokenizers` for CLIP: built from a table, or read from a `tokenizer.json`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, MissingExtraError
from clip_core.tokenizer.bpe import Merge
from clip_core.tokenizer.text import END_OF_WORD, rust_word_pattern

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
    words = pre_tokenizers.Split(Regex(rust_word_pattern()), behavior="removed", invert=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    backend.decoder = decoders.ByteLevel()
    return backend


def surround(backend: tokenizers.Tokenizer, bos_token: str, eos_token: str) -> None:
    """Put the two tokens, which must be in the vocabulary, around every text."""
    from tokenizers import processors

    backend.post_processor = processors.RobertaProcessing(
        sep=(eos_token, backend.token_to_id(eos_token)),
        cls=(bos_token, backend.token_to_id(bos_token)),
        add_prefix_space=False,
        trim_offsets=False,
    )
