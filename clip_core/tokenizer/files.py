"""The files of a tokenizer in a checkpoint directory, in the layout of transformers 4.

vocab.json merges.txt         the table; or both inside tokenizer.json
tokenizer_config.json         special tokens, lengths, added tokens
special_tokens_map.json       the special tokens again; what older checkpoints have
added_tokens.json             tokens beyond the table
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any, Self

from clip_core.checkpoint.files import read_json, write_text_atomically
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, InputError
from clip_core.tokenizer.bpe import Merge, builtin_table, checked_vocabulary, parse_merges, read_merges, read_vocabulary
from clip_core.tokenizer.options import NO_MAX_LENGTH

VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"

VocabularySource = str | PathLike[str] | Mapping[str, int]
MergesSource = str | PathLike[str] | Sequence[Merge]

SPECIAL_TOKEN_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")


@dataclass(frozen=True, kw_only=True)
class AddedToken:
    """A token that is found in the text before it is split into words.

    `single_word` asks for spaces around it; the other flags matter to the fast tokenizer and to files only.
    """

    content: str
    lstrip: bool = False
    normalized: bool = True
    rstrip: bool = False
    single_word: bool = False
    special: bool = False

    @classmethod
    def of(cls, token: Any, *, special: bool = False) -> Self:
        """From a string, from the entry of a file, or from the `AddedToken` of another library."""
        if isinstance(token, str):
            return cls(content=token, normalized=not special, special=special)
        flags = token if isinstance(token, Mapping) else {name.name: getattr(token, name.name) for name in fields(cls)}
        known = {flag.name: flags[flag.name] for flag in fields(cls) if flag.name in flags}
        return cls(**{**known, "special": special or bool(known.get("special"))})


@dataclass(frozen=True, kw_only=True)
class TokenizerSettings:
    """What the files of a tokenizer say beside its table; `None` where they say nothing."""

    bos_token: str | None = None
    eos_token: str | None = None
    unk_token: str | None = None
    pad_token: str | None = None
    additional_special_tokens: tuple[str, ...] = ()
    model_max_length: int = NO_MAX_LENGTH
    padding_side: str = "right"
    truncation_side: str = "right"
    clean_up_tokenization_spaces: bool = False
    errors: str = "replace"
    split_special_tokens: bool = False
    added_tokens: Mapping[int, AddedToken] = field(default_factory=dict)


_PLAIN_SETTINGS = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "errors",
    "split_special_tokens",
)


def read_table(directory: Path) -> tuple[dict[str, int], list[Merge]]:
    """Vocabulary and merges of a directory, from their own files or from `tokenizer.json`.

    Raises:
        CheckpointNotFoundError: the directory has neither.
        CheckpointFormatError: a file is cut or corrupt; the file and, for merges, the line are named.
    """
    if (directory / VOCABULARY_FILE).exists() or not (directory / TOKENIZER_FILE).exists():
        vocabulary = read_vocabulary(directory / VOCABULARY_FILE)
        return vocabulary, read_merges(directory / MERGES_FILE, vocabulary)
    path = directory / TOKENIZER_FILE
    model = read_json(path).get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict) or "merges" not in model:
        raise CheckpointFormatError(f"{path}: expected a model with 'vocab' and 'merges'; this is no CLIP tokenizer")
    # Merges are pairs in newer files and one string each in older ones.
    lines = [merge if isinstance(merge, str) else " ".join(map(str, merge)) for merge in model["merges"]]
    vocabulary = checked_vocabulary(model["vocab"], path)
    return vocabulary, parse_merges(lines, vocabulary, f"{path}, merge", 1)


def load_table(
    vocab_file: VocabularySource | None, merges_file: MergesSource | None
) -> tuple[dict[str, int], list[Merge]]:
    """Vocabulary and merges from paths or objects; CLIP's own without either.

    Raises:
        InputError: only one of the two.
        CheckpointNotFoundError, CheckpointFormatError: as for `read_table`.
    """
    if vocab_file is None and merges_file is None:
        return builtin_table()
    if vocab_file is None or merges_file is None:
        raise InputError("expected vocab_file and merges_file together, or neither for CLIP's own table; got one")
    vocabulary = dict(vocab_file) if isinstance(vocab_file, Mapping) else read_vocabulary(Path(vocab_file))
    if isinstance(merges_file, (str, PathLike)):
        return vocabulary, read_merges(Path(merges_file), vocabulary)
    return vocabulary, list(merges_file)


def read_settings(directory: Path) -> TokenizerSettings:
    """The settings in a directory's files; all of the files may be absent.

    Raises:
        CheckpointFormatError: a file is no JSON object, or a setting is of the wrong type.
    """
    path = directory / CONFIG_FILE
    config = _without_none(_read_optional(path))
    special = {**_read_optional(directory / SPECIAL_TOKENS_FILE), **config}
    try:
        named: dict[str, Any] = {name: config[name] for name in _PLAIN_SETTINGS if name in config}
        named |= {name: _content(special[name]) for name in SPECIAL_TOKEN_NAMES if special.get(name) is not None}
        settings = TokenizerSettings(
            **named,
            additional_special_tokens=tuple(map(_content, special.get("additional_special_tokens", ()))),
            added_tokens=_read_added_tokens(directory, config),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointFormatError(
            f"{path}: expected the settings of a tokenizer, got one that is not: {error}"
        ) from None
    _check_types(settings, path)
    return settings


def _read_added_tokens(directory: Path, config: Mapping[str, Any]) -> dict[int, AddedToken]:
    if "added_tokens_decoder" in config:
        return {int(index): AddedToken.of(token) for index, token in config["added_tokens_decoder"].items()}
    if not (directory / VOCABULARY_FILE).exists():
        tokens = _read_optional(directory / TOKENIZER_FILE).get("added_tokens", ())
        return {token["id"]: AddedToken.of(token) for token in tokens}
    listed = _read_optional(directory / ADDED_TOKENS_FILE)
    return {index: AddedToken(content=token) for token, index in listed.items()}


def _check_types(settings: TokenizerSettings, path: Path) -> None:
    for name in _PLAIN_SETTINGS:
        value, default = getattr(settings, name), getattr(TokenizerSettings, name)
        # 1e30, which says that the length is unknown, is a float in some files.
        if not isinstance(value, (int, float) if name == "model_max_length" else type(default)):
            raise CheckpointFormatError(f"{path}: expected {name} to be like {default!r}, got {value!r:.60}")


def _read_optional(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except CheckpointNotFoundError:
        return {}


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _content(token: Any) -> str:
    return token if isinstance(token, str) else AddedToken.of(token).content


def write_settings(directory: Path, settings: TokenizerSettings, tokenizer_class: str, prefix: str = "") -> list[Path]:
    """Write `tokenizer_config.json` and `special_tokens_map.json`, each whole or not at all; their paths."""
    config = _without_none(asdict(settings))
    added = config.pop("added_tokens")
    config["added_tokens_decoder"] = {str(index): added[index] for index in sorted(added)}
    config["tokenizer_class"] = tokenizer_class
    special = {name: config[name] for name in SPECIAL_TOKEN_NAMES if name in config}
    if settings.additional_special_tokens:
        special["additional_special_tokens"] = settings.additional_special_tokens
    paths = []
    for name, content in ((CONFIG_FILE, config), (SPECIAL_TOKENS_FILE, special)):
        paths.append(directory / f"{prefix}{name}")
        write_text_atomically(paths[-1], json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    return paths
