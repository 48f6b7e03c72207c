"""open_clip checkpoints: directories of a hub, training checkpoints, models with a text tower of their own.

The names are OpenAI's; ``CustomTextCLIP`` puts ``text.`` before the text tower. Stable Diffusion keeps such text towers
without the vision tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.tensors import Tensor
from clip_core.errors import CheckpointFormatError, CLIPError, InputError
from clip_core.image.open_clip import from_open_clip, to_open_clip
from weights_convert.companions import (
    CLIP_VOCABULARY_SIZE,
    HUGGING_FACE_FILES,
    PREPROCESSOR,
    preprocessor_of,
    read_files,
)
from weights_convert.containers.opened import Container
from weights_convert.containers.shards import WeightFiles
from weights_convert.format import Format
from weights_convert.formats.hf_torch import write_tensors
from weights_convert.formats.open_clip_config import MALFORMED, OPEN_CLIP_CONFIG, VISION_DEFAULTS, describe
from weights_convert.formats.openai import IMPLIED, NAMES, OPENAI, RESNET_NAMES, folded_positions
from weights_convert.model import Files, Model, full_config, has_resnet, json_text

_OWN_TEXT_TOWER = "text."


def _plain_names(container: Container) -> Mapping[str, Tensor]:
    """The names without what custom text towers put in front."""
    found: dict[str, Tensor] = {}
    for name, tensor in container.tensors.items():
        plain = name.removeprefix(_OWN_TEXT_TOWER)
        if plain in found:
            raise CheckpointFormatError(f"{container.path}: names {plain[:100]!r} twice, with and without 'text.'.")
        found[plain] = tensor
    return folded_positions(container.path, found)


def _is_own(container: Container) -> bool:
    """Not OpenAI's, and not the text tower of a model whose vision tower is of another architecture."""
    _, has_vision = OPEN_CLIP.towers(container)
    other_vision = not has_vision and any(name.startswith("visual.") for name in container.tensors)
    return not other_vision and not OPENAI.recognises(container)


def _refuse(model: Model) -> None:
    config = full_config(model)
    text, vision = config.text_config, config.vision_config
    activations = {tower.hidden_act == "quick_gelu" for tower in (text, vision) if not has_resnet(tower)}
    if len(activations) > 1:
        raise InputError("open_clip: has one activation for both towers, the model has two. Convert it to hf.")
    if vision.num_channels != 3:
        raise InputError(f"open_clip: expected 3 channels, got {vision.num_channels}. Convert it to hf.")


def _preprocess_cfg(files: Mapping[str, bytes], image_size: int) -> dict[str, Any]:
    options = preprocessor_of(files)
    return {} if options is None else to_open_clip(options, image_size)


def _read_files(path: Path) -> Files:
    files = read_files(path)
    if PREPROCESSOR in files or not (path / OPEN_CLIP_CONFIG.name).is_file():
        return files
    described = read_json(path / OPEN_CLIP_CONFIG.name)
    cfg = described.get("preprocess_cfg")
    if not cfg:
        return files
    try:
        vision = described.get("model_cfg", described).get("vision_cfg", {})
        processor = from_open_clip(cfg, vision.get("image_size", VISION_DEFAULTS["image_size"]))
    except (*MALFORMED, CLIPError) as error:
        raise CheckpointFormatError(
            f"{path / OPEN_CLIP_CONFIG.name}: expected a preprocess_cfg of open_clip ({error}). "
            "Correct it, or take it out to get CLIP's own."
        ) from error
    return {**files, PREPROCESSOR: processor.to_json_string().encode()}


def _company(model: Model) -> Files:
    config = full_config(model)
    own_tokenizer = "vocab.json" in model.files and config.text_config.vocab_size != CLIP_VOCABULARY_SIZE
    described = {
        "model_cfg": describe(config, own_tokenizer=own_tokenizer),
        "preprocess_cfg": _preprocess_cfg(model.files, config.vision_config.image_size),
    }
    files = {name: content for name, content in model.files.items() if name != PREPROCESSOR}
    return {OPEN_CLIP_CONFIG.name: json_text(described).encode(), **files}


OPEN_CLIP = Format(
    name="open_clip",
    title="open_clip",
    containers=("safetensors", "torch", "torchscript"),
    files=(WeightFiles("open_clip_model.safetensors"), WeightFiles("open_clip_pytorch_model.bin")),
    names=NAMES,
    resnet_names=RESNET_NAMES,
    plain_names=_plain_names,
    implied=IMPLIED,
    is_own=_is_own,
    config=OPEN_CLIP_CONFIG,
    small_files=(OPEN_CLIP_CONFIG.name, *HUGGING_FACE_FILES),
    # the preprocessing is in it, and the tokenizer is CLIP's own where it names no other
    companions=dict.fromkeys(("config", "tokenizer", "image_processor"), ((OPEN_CLIP_CONFIG.name,),)),
    read_files=_read_files,
    company=_company,
    write_file=write_tensors,
    whole_models_only=True,
    towers_are_read=True,
    profile="openai",
    refuse=_refuse,
)
