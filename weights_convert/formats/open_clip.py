"""open_clip checkpoints: directories of a hub, training checkpoints, models with a text tower of their own.

The names are OpenAI's; training puts ``module.`` in front, ``CustomTextCLIP`` puts ``text.`` before the text tower.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.tensors import Tensor
from clip_core.checks import LEGACY_EOS_TOKEN_ID
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, CLIPError, InputError
from clip_core.image.processor import CLIPImageProcessor
from weights_convert.companions import CLIP_VOCABULARY_SIZE, PREPROCESSOR, preprocessor_of, read_files, write_files
from weights_convert.containers.opened import Container
from weights_convert.formats.hf_torch import write_tensors
from weights_convert.formats.openai import has_openai_names, openai_place, pools_at_largest_id
from weights_convert.model import Files, Format, Model, json_text, require_full
from weights_convert.tables import foreign_names, shared_names

CONFIG_FILE = "open_clip_config.json"
_PREFIXES = ("module.", "_orig_mod.")
_OWN_TEXT_TOWER = "text."
_VISION_DEFAULTS = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224}
_TEXT_DEFAULTS = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0}
_PLAIN = {  # what a setting must be for the model to be CLIP's; another value is another architecture
    "pos_embed_type": ("learnable", None),
    "block_type": ("default", None),
    "proj_type": ("linear", None),
}
_KNOWN = {*_VISION_DEFAULTS, *_TEXT_DEFAULTS, "pool_type", "eos_id", "pad_id", "act_kwargs", "norm_kwargs"}
_HARMLESS = ("hf_", "tokenizer", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_drop", "patch_dropout",
             "output_tokens", "attn_pooler")  # fmt: skip
_MALFORMED = (KeyError, TypeError, AttributeError, IndexError, ValueError, ArithmeticError)
_RESAMPLING = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "random": 3}


def _stripped(container: Container) -> dict[str, Tensor]:
    """The names without what training and custom text towers put in front."""
    stored = dict(container.tensors)
    for prefix in _PREFIXES:
        if stored and all(name.startswith(prefix) for name in stored):
            stored = {name.removeprefix(prefix): tensor for name, tensor in stored.items()}
    found: dict[str, Tensor] = {}
    for name, tensor in stored.items():
        plain = name.removeprefix(_OWN_TEXT_TOWER)
        if plain in found:
            raise CheckpointFormatError(f"{container.path}: names {plain[:100]!r} twice, with and without 'text.'.")
        found[plain] = tensor
    return found


def _recognises(container: Container) -> bool:
    if has_openai_names(container):
        named = container.kind == "torch" and container.path.name.startswith("open_clip")
        return named or container.kind == "safetensors"
    names = _stripped(container)
    return "ln_final.weight" in names and "visual.class_embedding" in names


def _read(container: Container) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return shared_names(openai_place, _stripped(container))


def parse_config(described: Mapping[str, Any], path: Path) -> CLIPConfig:
    """The configuration in an ``open_clip_config.json`` or one of open_clip's own model configurations.

    Raises:
        CheckpointFormatError: malformed, or of an architecture that is not CLIP's with vision transformers.
    """
    model = described.get("model_cfg", described)
    try:
        vision = {**_VISION_DEFAULTS, **model["vision_cfg"]}
        text = {**_TEXT_DEFAULTS, **model["text_cfg"]}
        _require_plain(path, vision, text)
        activation = "quick_gelu" if model.get("quick_gelu") else None
        return CLIPConfig(
            projection_dim=model["embed_dim"],
            text_config=_text_config(text, activation, model["embed_dim"]),
            vision_config=_vision_config(vision, activation, model["embed_dim"]),
        )
    except CLIPError:
        raise
    except _MALFORMED as error:
        raise CheckpointFormatError(f"{path}: expected a model configuration of open_clip ({error!r}).") from error


def _require_plain(path: Path, vision: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    unusual = []
    for part, settings in (("vision_cfg", vision), ("text_cfg", text)):
        for key, value in settings.items():
            needed = _PLAIN.get(key, (None, False))
            named_model = key in ("hf_model_name", "timm_model_name") and value
            if named_model or not (key in _KNOWN or value in needed or key.startswith(_HARMLESS)):
                unusual.append(f"{part}.{key} = {value!r}")
    if isinstance(vision["layers"], list):
        unusual.append("a ResNet vision tower")
    if text.get("pool_type") == "eos" and text.get("eos_id", 2) == LEGACY_EOS_TOKEN_ID:
        unusual.append("texts that end at the first id 2, which in other libraries means the largest id")
    if vision.get("pool_type", "tok") != "tok" or text.get("pool_type", "argmax") not in ("argmax", "eos"):
        unusual.append("pool_type")
    if unusual:
        raise CheckpointFormatError(
            f"{path}: expected CLIP with vision transformer, got an architecture with {', '.join(unusual)[:300]}."
        )


def _shared_part(cfg: Mapping[str, Any], activation: str | None, embed: int) -> dict[str, Any]:
    tanh = (cfg.get("act_kwargs") or {}).get("approximate") == "tanh"
    return {
        "hidden_size": cfg["width"],
        "intermediate_size": int(cfg["width"] * cfg["mlp_ratio"]),
        "num_hidden_layers": cfg["layers"],
        "hidden_act": activation or ("gelu_pytorch_tanh" if tanh else "gelu"),
        "layer_norm_eps": (cfg.get("norm_kwargs") or {}).get("eps", 1e-5),
        "projection_dim": embed,
    }


def _text_config(cfg: Mapping[str, Any], activation: str | None, embed: int) -> CLIPTextConfig:
    last = cfg["vocab_size"] - 1
    return CLIPTextConfig(
        **_shared_part(cfg, activation, embed),
        vocab_size=cfg["vocab_size"],
        num_attention_heads=cfg["heads"],
        max_position_embeddings=cfg["context_length"],
        bos_token_id=max(last - 1, 0),
        eos_token_id=cfg.get("eos_id", 2) if cfg.get("pool_type") == "eos" else last,
        pad_token_id=cfg.get("pad_id", 1),
    )


def _vision_config(cfg: Mapping[str, Any], activation: str | None, embed: int) -> CLIPVisionConfig:
    size = cfg["image_size"]
    if isinstance(size, list | tuple) and len(set(size)) == 1:
        size = size[0]
    return CLIPVisionConfig(
        **_shared_part(cfg, activation, embed),
        num_attention_heads=cfg["width"] // cfg["head_width"],
        image_size=size,
        patch_size=cfg["patch_size"],
    )


def describe(config: CLIPConfig, *, own_tokenizer: bool) -> dict[str, Any]:
    """open_clip's ``model_cfg`` of a configuration; ``own_tokenizer`` is one that is not CLIP's."""
    text, vision = config.text_config, config.vision_config
    # Without this, open_clip takes CLIP's own; with it, whatever lies in the directory that it loads from.
    tokenizer = {"hf_tokenizer_name": "."} if own_tokenizer else {}
    pooling = {} if pools_at_largest_id(text) else {"pool_type": "eos", "eos_id": text.eos_token_id}
    padding = {} if text.pad_token_id == 1 else {"pad_id": text.pad_token_id}
    return {
        "embed_dim": config.projection_dim,
        "quick_gelu": text.hidden_act == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
            "head_width": vision.head_dim,
            **_described_part(vision),
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "heads": text.num_attention_heads,
            **_described_part(text),
            **pooling,
            **padding,
            **tokenizer,
        },
    }


def _described_part(tower: CLIPTextConfig | CLIPVisionConfig) -> dict[str, Any]:
    ratio = tower.intermediate_size / tower.hidden_size
    if int(tower.hidden_size * ratio) != tower.intermediate_size:  # open_clip cuts the product down to an integer
        ratio = math.nextafter(ratio, math.inf)
    described: dict[str, Any] = {"layers": tower.num_hidden_layers, "width": tower.hidden_size, "mlp_ratio": ratio}
    if tower.hidden_act == "gelu_pytorch_tanh":
        described["act_kwargs"] = {"approximate": "tanh"}
    if tower.layer_norm_eps != 1e-5:
        described["norm_kwargs"] = {"eps": tower.layer_norm_eps}
    return described


def _check(model: Model) -> None:
    config = require_full(model, "open_clip")
    text, vision = config.text_config, config.vision_config
    if (text.hidden_act == "quick_gelu") != (vision.hidden_act == "quick_gelu"):
        raise InputError("open_clip: has one activation for both towers, the model has two. Convert it to hf.")
    if vision.num_channels != 3:
        raise InputError(f"open_clip: expected 3 channels, got {vision.num_channels}. Convert it to hf.")


def _preprocess_cfg(files: Mapping[str, bytes], image_size: int) -> dict[str, Any]:
    options = preprocessor_of(files)
    if options is None:
        return {}
    names = {number: name for name, number in _RESAMPLING.items() if name != "random"}
    return {
        "size": image_size,
        "mode": "RGB",
        "mean": options["image_mean"],
        "std": options["image_std"],
        "interpolation": names.get(options["resample"], "bicubic"),
        "resize_mode": "shortest" if "shortest_edge" in options["size"] else "squash",
        "fill_color": 0,
    }


def _read_files(path: Path) -> Files:
    files = read_files(path)
    if PREPROCESSOR in files or not (path / CONFIG_FILE).is_file():
        return files
    described = read_json(path / CONFIG_FILE)
    cfg = described.get("preprocess_cfg")
    if not cfg:
        return files
    try:
        vision = described.get("model_cfg", described).get("vision_cfg", {})
        processor = _parse_preprocess_cfg(cfg, vision.get("image_size", _VISION_DEFAULTS["image_size"]))
    except (*_MALFORMED, CLIPError) as error:
        raise CheckpointFormatError(
            f"{path / CONFIG_FILE}: expected a preprocess_cfg of open_clip that crops or squashes ({error!r}). "
            "Correct it, or take it out to get CLIP's own."
        ) from error
    return {**files, PREPROCESSOR: processor.to_json_string().encode()}


def _parse_preprocess_cfg(cfg: Mapping[str, Any], image_size: Any) -> CLIPImageProcessor:
    size, mode = cfg.get("size", image_size), cfg.get("resize_mode", "shortest")
    if mode not in ("shortest", "squash"):
        raise ValueError(f"resize_mode {mode!r}")
    edges = size if isinstance(size, list) else [size]
    if len(set(edges)) != 1:
        raise ValueError(f"size {size!r}")
    edge = edges[0]
    squash = mode == "squash"
    return CLIPImageProcessor(
        size={"height": edge, "width": edge} if squash else edge,
        crop_size=edge,
        do_center_crop=not squash,
        resample=_RESAMPLING[cfg.get("interpolation", "bicubic")],
        image_mean=cfg.get("mean"),
        image_std=cfg.get("std"),
    )


def _write(model: Model, directory: Path, max_shard_size: int) -> None:
    config = require_full(model, "open_clip")
    write_tensors(directory / "open_clip_model.safetensors", foreign_names(openai_place, model.specs, model.weights))
    own_tokenizer = "vocab.json" in model.files and config.text_config.vocab_size != CLIP_VOCABULARY_SIZE
    described = {
        "model_cfg": describe(config, own_tokenizer=own_tokenizer),
        "preprocess_cfg": _preprocess_cfg(model.files, config.vision_config.image_size),
    }
    (directory / CONFIG_FILE).write_text(json_text(described), encoding="utf-8")
    write_files(directory, {name: content for name, content in model.files.items() if name != PREPROCESSOR})


OPEN_CLIP = Format(
    name="open_clip",
    title="open_clip",
    recognises=_recognises,
    read=_read,
    config_files=(CONFIG_FILE,),
    write=_write,
    check=_check,
    read_files=_read_files,
)
