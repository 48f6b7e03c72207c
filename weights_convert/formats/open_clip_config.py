"""``open_clip_config.json``: the model's configuration in it, read and written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_core.checks import LEGACY_EOS_TOKEN_ID
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, CLIPError
from clip_core.resnet import TOTAL_STRIDE
from weights_convert.companions import ConfigFile
from weights_convert.model import pools_at_largest_id

VISION_DEFAULTS = {"layers": 12, "width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224}
_TEXT_DEFAULTS = {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12, "mlp_ratio": 4.0}
_PLAIN = {  # what a setting must be for the model to be CLIP's; another value is another architecture
    "pos_embed_type": ("learnable", None),
    "block_type": ("default", None),
    "proj_type": ("linear", None),
}
_KNOWN = {*VISION_DEFAULTS, *_TEXT_DEFAULTS, "pool_type", "eos_id", "pad_id", "act_kwargs", "norm_kwargs"}
_HARMLESS = ("hf_", "tokenizer", "timm_model_pretrained", "timm_pool", "timm_proj", "timm_drop", "patch_dropout",
             "output_tokens", "attn_pooler")  # fmt: skip
MALFORMED = (KeyError, TypeError, AttributeError, IndexError, ValueError, ArithmeticError)


def _parse(described: Mapping[str, Any], path: Path) -> CLIPConfig:
    """The configuration in an ``open_clip_config.json`` or one of open_clip's own model configurations.

    Raises:
        CheckpointFormatError: malformed, or of an architecture that is not CLIP's.
    """
    model = described.get("model_cfg", described)
    try:
        vision = {**VISION_DEFAULTS, **model["vision_cfg"]}
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
    except MALFORMED as error:
        raise CheckpointFormatError(f"{path}: expected a model configuration of open_clip ({error!r}).") from error


def _require_plain(path: Path, vision: Mapping[str, Any], text: Mapping[str, Any]) -> None:
    unusual = []
    for part, settings in (("vision_cfg", vision), ("text_cfg", text)):
        for key, value in settings.items():
            needed = _PLAIN.get(key, (None, False))
            named_model = key in ("hf_model_name", "timm_model_name") and value
            if named_model or not (key in _KNOWN or value in needed or key.startswith(_HARMLESS)):
                unusual.append(f"{part}.{key} = {value!r}")
    options = text.get("tokenizer_kwargs") or {}
    if text.get("hf_tokenizer_name"):  # whose files say whether case counts
        is_usual = options.get("clean", "lower") in ("lower", "whitespace")
    else:
        is_usual = options in ({}, {"clean": "lower"})
    if not is_usual:  # as no published model's
        unusual.append(f"text_cfg.tokenizer_kwargs = {options!r}, which no file beside Triclip's weights says")
    if text.get("pool_type") == "eos" and text.get("eos_id", 2) == LEGACY_EOS_TOKEN_ID:
        unusual.append("texts that end at the first id 2, which in other libraries means the largest id")
    if vision.get("pool_type", "tok") != "tok" or text.get("pool_type", "argmax") not in ("argmax", "eos"):
        unusual.append("pool_type")
    if unusual:
        raise CheckpointFormatError(
            f"{path}: expected CLIP with a vision transformer or its ResNet, got an architecture with "
            f"{', '.join(unusual)[:300]}."
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
    if isinstance(cfg["layers"], list | tuple):  # a ResNet, whose width is that of its stem
        hidden = cfg["width"] * TOTAL_STRIDE
        heads = hidden // cfg["head_width"]
        return CLIPVisionConfig(
            stage_depths=tuple(cfg["layers"]),
            hidden_size=hidden,
            num_attention_heads=heads,
            image_size=size,
            projection_dim=embed,
        )
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
            "patch_size": None if vision.is_resnet else vision.patch_size,
            "head_width": vision.head_dim,
            **(_described_resnet(vision) if vision.is_resnet else _described_part(vision)),
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


def _described_resnet(vision: CLIPVisionConfig) -> dict[str, Any]:
    return {"layers": vision.stage_depths, "width": vision.hidden_size // TOTAL_STRIDE}


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


def _describes(described: Mapping[str, Any]) -> bool:
    model = described.get("model_cfg", described)
    return isinstance(model, dict) and "vision_cfg" in model


OPEN_CLIP_CONFIG = ConfigFile(name="open_clip_config.json", describes=_describes, parse=_parse)
