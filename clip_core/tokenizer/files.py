"""The files of a tokenizer in a checkpoint directory, in the layout of transformers 4.

vocab.json merges.txt         the table; or both inside tokenizer.json
tokenizer_config.json         special tokens, lengths, added tokens
special_tokens_map.json       the special tokens again; what older checkpoints have
added_tokens.json             tokens beyond the table
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from clip_core.checkpoint.files import read_json, write_text_atomically
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, InputError
from clip_core.tokenizer.bpe import Merge, builtin_table, checked_vocabulary, parse_merges, read_merges, read_vocabulary
from clip_core.tokenizer.settings import SPECIAL_TOKEN_NAMES, TokenizerSettings
from clip_core.tokenizer.table import AddedToken

VOCABULARY_FILE = "vocab.json"
MERGES_FILE = "merges.txt"
TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
SPECIAL_TOKENS_FILE = "special_tokens_map.json"
ADDED_TOKENS_FILE = "added_tokens.json"

VocabularySource = str | PathLike[str] | Mapping[str, int]
MergesSource = str | PathLike[str] | Sequence[Merge]

_PLAIN_SETTINGS = (
    "model_max_length",
    "padding_side",
    "truncation_side",
    "clean_up_tokenization_spaces",
    "errors",
    "split_special_tokens",
    "clean",
    "pad_id",
)


def table_arguments(directory: Path, fast: bool) -> dict[str, Any]:
    """The table of a directory as arguments of a tokenizer's constructor; a fast one prefers `tokenizer.json`.

    Raises:
        CheckpointFormatError: a `tokenizer.json` that is read is cut or corrupt.
    """
    path = directory / TOKENIZER_FILE
    if fast and path.exists():
        return {"tokenizer_file": path}
    if (directory / VOCABULARY_FILE).exists() or not path.exists():
        return {"vocab_file": directory / VOCABULARY_FILE, "merges_file": directory / MERGES_FILE}
    model = read_json(path).get("model")
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict) or not _are_merges(model.get("merges")):
        raise CheckpointFormatError(f"{path}: expected a model with 'vocab' and 'merges'; this is no CLIP tokenizer")
    # Merges are pairs in newer files and one string each in older ones.
    lines = [merge if isinstance(merge, str) else " ".join(map(str, merge)) for merge in model["merges"]]
    vocabulary = checked_vocabulary(model["vocab"], path)
    return {"vocab_file": vocabulary, "merges_file": parse_merges(lines, vocabulary, f"{path}, merge", 1)}


def _are_merges(merges: Any) -> bool:
    return isinstance(merges, list) and all(isinstance(merge, str | list) for merge in merges)


def load_table(
    vocab_file: VocabularySource | None, merges_file: MergesSource | None
) -> tuple[dict[str, int], list[Merge]]:
    """Vocabulary and merges from paths or objects; CLIP's own without either.

    Raises:
        InputError: only one of the two.
        CheckpointNotFoundError, CheckpointFormatError: a file is absent, cut or corrupt.
    """
    if vocab_file is None and merges_file is None:
        return builtin_table()
    if vocab_file is None or merges_file is None:
        raise InputError("expected vocab_file and merges_file together, or neither for CLIP's own table; got one")
    vocabulary = dict(vocab_file) if isinstance(vocab_file, Mapping) else read_vocabulary(Path(vocab_file))
    if isinstance(merges_file, (str, PathLike)):
        return vocabulary, read_merges(Path(merges_file), vocabulary)
    return vocabulary, list(merges_file)


def read_settings(directory: Path) -> tuple[TokenizerSettings, dict[int, AddedToken]]:
    """The settings in a directory's files and the tokens beyond its table; all of the files may be absent.

    Raises:
        CheckpointFormatError: a file is no JSON object, or a setting is of the wrong type.
    """
    path = directory / CONFIG_FILE
    config = _without_none(_read_optional(path))
    special = {**_read_optional(directory / SPECIAL_TOKENS_FILE), **config}
    try:
        named: dict[str, Any] = {name: config[name] for name in _PLAIN_SETTINGS if name in config}
        named |= {name: _content(special[name]) for name in SPECIAL_TOKEN_NAMES if special.get(name) is not None}
        additional = [_content(token) for token in special.get("additional_special_tokens", ())]
        settings = TokenizerSettings(**named, additional_special_tokens=additional)
        added = _read_added_tokens(directory, config)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointFormatError(
            f"{path}: expected the settings of a tokenizer, got one that is not: {error}"
        ) from None
    _check_types(settings, path)
    _check_tokens(settings, added, path)
    return settings, added


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
        kinds = {"model_max_length": int | float, "pad_id": int | None}.get(name, type(default))
        if not isinstance(value, kinds) or (isinstance(value, float) and not math.isfinite(value)):
            raise CheckpointFormatError(f"{path}: expected {name} to be like {default!r}, got {value!r:.60}")


def _check_tokens(settings: TokenizerSettings, added: Mapping[int, AddedToken], path: Path) -> None:
    tokens = [*settings.named_special_tokens().values(), *settings.additional_special_tokens]
    for token in (*tokens, *(token.content for token in added.values())):
        if not isinstance(token, str):
            raise CheckpointFormatError(f"{path}: expected tokens to be texts, got {token!r:.60}")
    for index in added:
        if type(index) is not int or index < 0:
            raise CheckpointFormatError(f"{path}: expected the ids of added tokens to be 0 or more, got {index!r:.60}")


def _read_optional(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except CheckpointNotFoundError:
        return {}


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _content(token: Any) -> str:
    return token if isinstance(token, str) else AddedToken.of(token).content


def write_settings(
    directory: Path,
    prefix: str | None,
    settings: TokenizerSettings,
    added: Mapping[int, AddedToken],
    tokenizer_class: str,
) -> list[Path]:
    """Write `tokenizer_config.json` and `special_tokens_map.json`, each whole or not at all; their paths."""
    config = settings.to_file()
    config["added_tokens_decoder"] = {str(index): asdict(added[index]) for index in sorted(added)}
    config["tokenizer_class"] = tokenizer_class
    special: dict[str, Any] = {name: config[name] for name in SPECIAL_TOKEN_NAMES if name in config}
    if settings.additional_special_tokens:
        special["additional_special_tokens"] = settings.additional_special_tokens
    contents = {CONFIG_FILE: config, SPECIAL_TOKENS_FILE: special}
    dump = partial(json.dumps, indent=2, sort_keys=True, ensure_ascii=False)
    return _write(directory, prefix, {name: f"{dump(content)}\n" for name, content in contents.items()})


def write_table(directory: Path, prefix: str | None, vocabulary: str, merges: str) -> list[Path]:
    """Write the texts of `vocab.json` and `merges.txt`, each whole or not at all; their paths."""
    return _write(directory, prefix, {VOCABULARY_FILE: vocabulary, MERGES_FILE: merges})


def _write(directory: Path, prefix: str | None, texts: Mapping[str, str]) -> list[Path]:
    paths = []
    for name, text in texts.items():
        paths.append(path_of(name, directory, prefix))
        write_text_atomically(paths[-1], text)
    return paths


def path_of(name: str, directory: Path, prefix: str | None) -> Path:
    """Where a tokenizer's file lies whose names begin with `prefix-`, if there is one."""
    return directory / (f"{prefix}-{name}" if prefix else name)
