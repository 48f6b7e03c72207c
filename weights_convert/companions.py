"""The small files that travel with weights: configuration, preprocessor and tokenizer, in the Hugging Face layout."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_core.checkpoint.files import parse_json
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError
from clip_core.image.options import Profile
from clip_core.image.processor import FILE_NAME, NESTED_FILE_NAME, CLIPImageProcessor
from clip_core.tokenizer.clip import CLIPTokenizer
from weights_convert.companion_files import read_companion
from weights_convert.model import AnyConfig, Files, Model, json_text
from weights_convert.scratch import scratch_directory

PREPROCESSOR = FILE_NAME
TOKENIZER = (
    "vocab.json",
    "merges.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
HUGGING_FACE_FILES = ("config.json", PREPROCESSOR, NESTED_FILE_NAME, *TOKENIZER, "generation_config.json")
"""What may lie beside the weights in the Hugging Face layout."""
CLIP_VOCABULARY_SIZE = 49408


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """A kind of configuration file.

    Attributes:
        name: of the file beside the weights.
        describes: whether a JSON object is of this kind.
        parse: its configuration; the path is for messages. Raises `CheckpointFormatError`.
    """

    name: str
    describes: Callable[[Mapping[str, Any]], bool]
    parse: Callable[[Mapping[str, Any], Path], AnyConfig]


MODEL_TYPES: Mapping[Any, type[AnyConfig]] = {
    **{kind.model_type: kind for kind in (CLIPConfig, CLIPTextConfig, CLIPVisionConfig)},
    "clipseg": CLIPConfig,  # a CLIP below a decoder, with a configuration of the same names and defaults
}
"""What ``config.json`` can say that it is of."""


def _parse_config(described: Mapping[str, Any], path: Path) -> AnyConfig:
    found = described.get("model_type")
    if not isinstance(found, str) or found not in MODEL_TYPES:
        raise CheckpointFormatError(f"{path}: expected a model_type of {', '.join(MODEL_TYPES)}, got {found!r}.")
    try:
        return MODEL_TYPES[found].from_dict(described)
    except (TypeError, AttributeError) as error:
        raise CheckpointFormatError(f"{path}: not a configuration of CLIP: {error}") from error


HUGGING_FACE_CONFIG = ConfigFile(
    name="config.json", describes=lambda described: "model_type" in described, parse=_parse_config
)


def read_files(directory: Path) -> Files:
    """Preprocessor and tokenizer files of a directory, those that are there; see `read_companion`."""
    found = {name: read_companion(directory, name) for name in (PREPROCESSOR, NESTED_FILE_NAME, *TOKENIZER)}
    files = {name: content for name, content in found.items() if content is not None}
    nested = parse_json(files.pop(NESTED_FILE_NAME, b"{}"), directory / NESTED_FILE_NAME).get("image_processor")
    if PREPROCESSOR not in files and isinstance(nested, dict):
        files[PREPROCESSOR] = json_text(nested).encode()
    return files


def without_other_preprocessor(files: Files) -> tuple[Files, list[str]]:
    """The files of a model that was part of another, without a preprocessor that is of the other, and a note on it."""
    described = parse_json(files.get(PREPROCESSOR, b"{}"), Path(PREPROCESSOR))
    kind = str(described.get("image_processor_type") or described.get("feature_extractor_type") or "CLIP")
    if kind.startswith("CLIP"):
        return files, []
    note = f"preprocessor: the source's, a {kind[:100]}, is that of the model around, and left out"
    return {name: content for name, content in files.items() if name != PREPROCESSOR}, [note]


def preprocessor_of(files: Mapping[str, bytes]) -> dict[str, Any] | None:
    """What ``preprocessor_config.json`` says.

    Raises:
        CheckpointFormatError: it describes no preprocessing.
    """
    if PREPROCESSOR not in files:
        return None
    try:
        return CLIPImageProcessor.from_dict(json.loads(files[PREPROCESSOR])).to_dict()
    except (ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise CheckpointFormatError(f"{PREPROCESSOR}: describes no preprocessing: {error}") from error


def completed(files: Mapping[str, bytes], config: AnyConfig, profile: Profile) -> tuple[Files, list[str]]:
    """The files with CLIP's own tokenizer, and preprocessing of this profile, where the source has none.

    Returns:
        The files, and a note for people on each thing that was added or that is missing.
    """
    found, notes = dict(files), []
    image_size = _of_tower(config, "vision_config", "image_size")
    if PREPROCESSOR not in found and image_size is not None:
        processor = CLIPImageProcessor(size=image_size, crop_size=image_size, profile=profile)
        found[PREPROCESSOR] = processor.to_json_string().encode()
        notes.append(f"preprocessor: the source has none; CLIP's own, for {image_size} pixels, was added")
    vocabulary_size = _of_tower(config, "text_config", "vocab_size")
    if not found.keys() & {"vocab.json", "tokenizer.json"}:
        if vocabulary_size == CLIP_VOCABULARY_SIZE:
            found.update(_clip_tokenizer_files(_of_tower(config, "text_config", "max_position_embeddings")))
            notes.append("tokenizer: the source has none; CLIP's own was added")
        elif vocabulary_size is not None:
            notes.append(f"tokenizer: the source has none, and CLIP's own does not fit its {vocabulary_size} tokens")
    return found, notes


def _of_tower(config: AnyConfig, tower: str, name: str) -> int | None:
    value: int | None = getattr(getattr(config, tower, config), name, None)
    return value


def _clip_tokenizer_files(context: int | None) -> Files:
    with scratch_directory() as directory:
        tokenizer = CLIPTokenizer() if context is None else CLIPTokenizer(model_max_length=context)
        tokenizer.save_pretrained(directory)
        return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def hugging_face_company(model: Model) -> Files:
    """What lies beside the weights in the Hugging Face layout: configuration, preprocessor and tokenizer."""
    return {HUGGING_FACE_CONFIG.name: model.config_text().encode(), **model.files}


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Writes the files into a directory."""
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
