"""Whether preprocessor and tokenizer are whole, and whether they are those of the model that they lie beside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from clip_core.checkpoint.files import parse_json
from clip_core.checks import LEGACY_EOS_TOKEN_ID
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, CLIPError
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.settings import NO_MAX_LENGTH
from weights_convert.companions import TOKENIZER, preprocessor_of, write_files
from weights_convert.model import AnyConfig
from weights_convert.scratch import scratch_directory

_TABLES = (("vocab.json", "merges.txt"), ("tokenizer.json",))
"""The files of which each group is a table of tokens, for the tokenizer and for the fast one."""


def load_tokenizers(files: Mapping[str, bytes]) -> list[CLIPTokenizer]:
    """The tokenizer in every form that the files have it in; one of another kind than CLIP's is not judged.

    Raises:
        CheckpointFormatError: a file is missing or damaged.
    """
    settings = {name: files[name] for name in TOKENIZER if name in files and name not in sum(_TABLES, ())}
    tables = [{name: files[name] for name in table if name in files} for table in _TABLES]
    return [_load_tokenizer({**table, **settings}) for table in tables if table and not _is_of_another_kind(table)]


def _is_of_another_kind(table: Mapping[str, bytes]) -> bool:
    """Whether a ``tokenizer.json`` says that it does not merge pairs: WordPiece or Unigram, of multilingual models."""
    model = parse_json(table.get("tokenizer.json", b"{}"), Path("tokenizer.json")).get("model")
    return isinstance(model, dict) and model.get("type", "BPE") != "BPE"


def _load_tokenizer(files: Mapping[str, bytes]) -> CLIPTokenizer:
    with scratch_directory() as directory:
        write_files(directory, files)
        try:
            return CLIPTokenizer.from_directory(directory)
        except CLIPError as error:
            problem = str(error).replace(f"{directory}/", "")
            raise CheckpointFormatError(f"The tokenizer is damaged: {problem}") from error


def check_whole(files: Mapping[str, bytes]) -> None:
    """Raises `CheckpointFormatError` if the preprocessor or the tokenizer among the files cannot be loaded."""
    preprocessor_of(files)
    load_tokenizers(files)


def problems_of(files: Mapping[str, bytes], config: AnyConfig) -> list[str]:
    """What is wrong with the files, or does not fit a model of this configuration."""
    problems: list[str] = []
    for check in (_preprocessor_problems, _tokenizer_problems):
        try:
            problems += check(files, config)
        except CheckpointFormatError as error:
            problems.append(str(error))
    return problems


def _preprocessor_problems(files: Mapping[str, bytes], config: AnyConfig) -> Iterator[str]:
    vision = config.vision_config if isinstance(config, CLIPConfig) else config
    options = preprocessor_of(files)
    if options is None or not isinstance(vision, CLIPVisionConfig):
        return
    made = _picture_size(options)
    if made != (vision.image_size, vision.image_size):
        shown = "no fixed size" if made is None else f"{made[0]}x{made[1]} pixels"
        yield f"preprocessor: makes pictures of {shown}, the model reads {vision.image_size}x{vision.image_size}."


def _picture_size(options: Mapping[str, Any]) -> tuple[int, int] | None:
    size = options["crop_size"] if options["do_center_crop"] else options["size"] if options["do_resize"] else {}
    return (size["height"], size["width"]) if "height" in size else None


def _tokenizer_problems(files: Mapping[str, bytes], config: AnyConfig) -> Iterator[str]:
    text = config.text_config if isinstance(config, CLIPConfig) else config
    tokenizers = load_tokenizers(files)
    if not isinstance(text, CLIPTextConfig):
        return
    for tokenizer in tokenizers:
        yield from _misfits(tokenizer, text)
    if len({frozenset(tokenizer.get_vocab().items()) for tokenizer in tokenizers}) > 1:
        yield "tokenizer: tokenizer.json and vocab.json give the same texts different ids."


def _misfits(tokenizer: CLIPTokenizer, text: CLIPTextConfig) -> Iterator[str]:
    largest = max(tokenizer.get_vocab().values())
    if largest >= text.vocab_size:
        yield f"tokenizer: has ids up to {largest}, the model knows those below {text.vocab_size}."
    end = largest if text.eos_token_id == LEGACY_EOS_TOKEN_ID else text.eos_token_id
    if tokenizer.eos_token_id != end:
        yield f"tokenizer: ends texts with id {tokenizer.eos_token_id}, the model takes id {end} for the end."
    if text.max_position_embeddings < tokenizer.model_max_length < NO_MAX_LENGTH:
        length = tokenizer.model_max_length
        yield f"tokenizer: cuts texts at {length} tokens, the model reads {text.max_position_embeddings}."
