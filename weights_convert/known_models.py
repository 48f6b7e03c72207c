"""What weights tell of their model, and what a name or a digest tells beyond that: heads, activation, end of text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from clip_core.checkpoint.tensors import Shape
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import ConfigError
from weights_convert.formats.openai import HEAD_DIM
from weights_convert.model import AnyConfig

PUBLISHED = {
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B/32",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B/16",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L/14",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "ViT-L/14@336px",
}
"""SHA-256 of the files that OpenAI published, which is part of their addresses."""

_SIZES = {"ViT-S": (384, 64, 384), "ViT-M": (512, 64, 512), "ViT-B": (768, 64, 512), "ViT-L": (1024, 64, 768),
          "ViT-H": (1280, 80, 1024), "ViT-g": (1408, 88, 1024), "ViT-bigG": (1664, 104, 1280),
          "ViT-e": (1792, 112, 1280)}  # fmt: skip
"""Width of the vision tower and of its heads, width of the text tower, whose heads are 64 wide in all of them."""
LIKE_OPENAI = "openai"
"""A name for any model that OpenAI's ``clip.load`` can read."""
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


def named_config(name: str, shapes: Mapping[str, Shape]) -> AnyConfig:
    """The configuration of a known model or of a tower of it: sizes from the weights, heads and activation by name.

    Raises:
        ConfigError: an unknown name, or weights that are not of that model.
    """
    match = _OPEN_CLIP_NAME.fullmatch(name)
    sizes = inferred_sizes(shapes)
    if name == LIKE_OPENAI:
        _check_like_openai(sizes)
        return _config(sizes, HEAD_DIM, "quick_gelu")
    if name not in _OPENAI_NAMES and not match:
        raise ConfigError(f"{name}: no such file, and no known model. {names_to_say()}")
    family, patch = (match[1], int(match[2])) if match else (name.split("/")[0], int(name.split("/")[1][:2]))
    width, head_dim, text_width = _SIZES[family]
    usual = not ("alt" in name or "plus" in name)
    vision, text = sizes.get("vision_config"), sizes.get("text_config")
    wrong = []
    if vision and ((usual and vision["hidden_size"] != width) or vision["hidden_size"] % head_dim):
        wrong.append(f"a vision tower of width {vision['hidden_size']}")
    if vision and vision["patch_size"] != patch:
        wrong.append(f"patches of {vision['patch_size']}")
    alone = text and not vision  # beside a vision tower that fits, any width will do
    if text and ((usual and alone and text["hidden_size"] != text_width) or text["hidden_size"] % HEAD_DIM):
        wrong.append(f"a text tower of width {text['hidden_size']}")
    if wrong:
        raise ConfigError(f"{name}: the weights are of another model, with {' and '.join(wrong)}.")
    return _config(sizes, head_dim, "quick_gelu" if not match or match[3] else "gelu")


def _check_like_openai(sizes: Mapping[str, Mapping[str, Any]]) -> None:
    """Raises `ConfigError` for weights that ``clip.load`` would take for another model."""
    for name, tower in sizes.items():
        width = tower["hidden_size"]
        if width % HEAD_DIM or tower["intermediate_size"] != 4 * width:
            raise ConfigError(
                f"{LIKE_OPENAI}: expected a {name[:-7]} tower with heads {HEAD_DIM} wide and an MLP four times as wide "
                f"as itself, got width {width} and an MLP of {tower['intermediate_size']}. Give its config.json."
            )


def _config(sizes: Mapping[str, Mapping[str, Any]], vision_head_dim: int, activation: str) -> AnyConfig:
    text = vision = None
    if "text_config" in sizes:
        found = sizes["text_config"]
        last = found["vocab_size"] - 1
        text = CLIPTextConfig(
            **found,
            num_attention_heads=found["hidden_size"] // HEAD_DIM,
            hidden_act=activation,
            bos_token_id=max(last - 1, 0),
            eos_token_id=last,
        )
    if "vision_config" in sizes:
        found = sizes["vision_config"]
        heads = found["hidden_size"] // vision_head_dim
        vision = CLIPVisionConfig(**found, num_attention_heads=heads, hidden_act=activation)
    if text and vision:
        return CLIPConfig(projection_dim=vision.projection_dim, text_config=text, vision_config=vision)
    tower = text or vision
    if tower is None:
        raise ConfigError("the weights are not those of a whole tower. Fetch or save them again.")
    return tower


def names_to_say() -> str:
    """How to say which model weights without a configuration are of."""
    return (
        "Say which model it is with --config (config= in Python): a config.json or open_clip_config.json; "
        f"one of OpenAI's models, {', '.join(_OPENAI_NAMES)}, or {LIKE_OPENAI} for any that its clip.load reads "
        "(quick_gelu, heads of 64); or a name of open_clip, such as ViT-B-32 (gelu) or ViT-B-32-quickgelu."
    )
