"""What weights tell of their model, and what a name or a digest tells beyond that: heads and activation."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from clip_core.checkpoint.tensors import Shape
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import ConfigError
from weights_convert.formats.openai import HEAD_DIM

PUBLISHED = {
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B/32",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B/16",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L/14",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "ViT-L/14@336px",
}
"""SHA-256 of the files that OpenAI published, which is part of their addresses."""

_SIZES = {"ViT-S": (384, 64), "ViT-M": (512, 64), "ViT-B": (768, 64), "ViT-L": (1024, 64), "ViT-H": (1280, 80),
          "ViT-g": (1408, 88), "ViT-bigG": (1664, 104), "ViT-e": (1792, 112)}  # fmt: skip
"""Width of the vision tower and of its heads; a head of the text tower is 64 wide in all of them."""
_OPENAI_NAMES = tuple(PUBLISHED.values())
_OPEN_CLIP_NAME = re.compile(r"(ViT-(?:S|M|B|L|H|g|bigG|e))-(\d\d)(?:-alt|-plus)?(?:-\d{3})?(-quickgelu)?")


def inferred_sizes(shapes: Mapping[str, Shape]) -> dict[str, dict[str, Any]]:
    """What the shapes tell about each tower: everything but ``num_attention_heads`` and ``hidden_act``."""
    sizes: dict[str, dict[str, Any]] = {}
    embed = [
        shapes[f"{name}_projection.weight"][0] for name in ("visual", "text") if f"{name}_projection.weight" in shapes
    ]
    for tower in ("text", "vision"):
        found = _tower_sizes(shapes, f"{tower}_model")
        if found:
            sizes[f"{tower}_config"] = {**found, **({"projection_dim": embed[0]} if embed else {})}
    return sizes


def _tower_sizes(shapes: Mapping[str, Shape], tower: str) -> dict[str, int]:
    position = shapes.get(f"{tower}.embeddings.position_embedding.weight")
    wide = shapes.get(f"{tower}.encoder.layers.0.mlp.fc1.weight")
    if position is None or wide is None:
        return {}
    layers = {name.split(".")[3] for name in shapes if name.startswith(f"{tower}.encoder.layers.")}
    sizes = {"hidden_size": position[1], "intermediate_size": wide[0], "num_hidden_layers": len(layers)}
    tokens = shapes.get(f"{tower}.embeddings.token_embedding.weight")
    patches = shapes.get(f"{tower}.embeddings.patch_embedding.weight")
    if tokens is not None:
        return {**sizes, "vocab_size": tokens[0], "max_position_embeddings": position[0]}
    if patches is None:
        return {}
    image_size = math.isqrt(max(position[0] - 1, 0)) * patches[2]
    return {**sizes, "num_channels": patches[1], "patch_size": patches[2], "image_size": image_size}


def named_config(name: str, shapes: Mapping[str, Shape]) -> CLIPConfig:
    """The configuration of a known model: sizes from its weights, heads and activation from its name.

    Raises:
        ConfigError: an unknown name, or weights that are not of that model.
    """
    match = _OPEN_CLIP_NAME.fullmatch(name)
    if name not in _OPENAI_NAMES and not match:
        raise ConfigError(f"{name}: no such file, and no known model. {names_to_say()}")
    family, patch = (match[1], int(match[2])) if match else (name.split("/")[0], int(name.split("/")[1][:2]))
    activation = "quick_gelu" if not match or match[3] else "gelu"
    sizes = inferred_sizes(shapes)
    if set(sizes) != {"text_config", "vision_config"}:
        raise ConfigError(f"{name}: names a whole model, the weights are of a part. Give its config.json.")
    text, vision = sizes["text_config"], sizes["vision_config"]
    width, head_dim = _SIZES[family]
    usual = "alt" in name or "plus" in name or vision["hidden_size"] == width
    if not usual or vision["patch_size"] != patch or vision["hidden_size"] % head_dim or text["hidden_size"] % HEAD_DIM:
        got = f"width {vision['hidden_size']} and patches of {vision['patch_size']}"
        raise ConfigError(f"{name}: the weights are of another model, with a vision tower of {got}.")
    last = text["vocab_size"] - 1
    return CLIPConfig(
        projection_dim=vision["projection_dim"],
        text_config=CLIPTextConfig(
            **text,
            num_attention_heads=text["hidden_size"] // HEAD_DIM,
            hidden_act=activation,
            bos_token_id=max(last - 1, 0),
            eos_token_id=last,
        ),
        vision_config=CLIPVisionConfig(
            **vision, num_attention_heads=vision["hidden_size"] // head_dim, hidden_act=activation
        ),
    )


def names_to_say() -> str:
    """How to say which model weights without a configuration are of."""
    return (
        "Say which model it is with --config (config= in Python): a config.json or open_clip_config.json; "
        f"one of OpenAI's models, {', '.join(_OPENAI_NAMES)} (quick_gelu); or a name of open_clip, such as ViT-B-32 "
        "(gelu) or ViT-B-32-quickgelu."
    )
