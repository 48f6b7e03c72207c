"""What weights tell of their model, and what a name or two options tell beyond that: heads, activation, end of text."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from clip_core.checkpoint.tensors import Shape
from clip_core.config import ACTIVATIONS, CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointNotFoundError, ConfigError, InputError
from clip_core.published.names import QUICK_GELU_SUFFIX, find_named
from clip_core.published.table import Architecture, architectures, models
from clip_core.resnet import STAGES, TOTAL_STRIDE
from weights_convert.formats.openai import HEAD_DIM
from weights_convert.model import AnyConfig

LIKE_OPENAI = "openai"
"""A name for any model that OpenAI's ``clip.load`` can read."""
Sizes: TypeAlias = Mapping[str, Mapping[str, Any]]
_TELLING = ("hidden_size", "intermediate_size", "patch_size", "stage_depths")
"""Sizes that a model of a name must have; of others, such as the picture's, there are other ones in the field."""


@dataclass(frozen=True, kw_only=True)
class Unpublished:
    """What shapes do not tell of a model of sizes that nobody published; the defaults are those of OpenAI's format.

    Attributes:
        activation: of both towers' transformers.
        head_width: of the vision tower, or of a ResNet's pooling; the number of heads is the width divided by it.
        text_head_width: of the text tower.
    """

    activation: str = "quick_gelu"
    head_width: int = HEAD_DIM
    text_head_width: int = HEAD_DIM

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise InputError(f"activation: expected one of {', '.join(ACTIVATIONS)}, got {self.activation!r:.60}.")

    def config(self, sizes: Sizes) -> AnyConfig:
        """The configuration of weights of these sizes.

        Raises:
            ConfigError: a tower's width is no multiple of its head width.
        """
        widths = {"text_config": self.text_head_width, "vision_config": self.head_width}
        for name, found in sizes.items():
            if widths[name] < 1 or found["hidden_size"] % widths[name]:
                option = "--text-head-width" if name == "text_config" else "--head-width"
                raise ConfigError(
                    f"{option}: expected a divisor of {found['hidden_size']}, the width of the {name[:-7]} tower, got "
                    f"{widths[name]}."
                )
        return _config(sizes, {name: sizes[name]["hidden_size"] // widths[name] for name in sizes}, self.activation)


GivenConfig: TypeAlias = str | PathLike[str] | AnyConfig | Unpublished
"""What can be said of weights without a configuration: one, a file of it, the name of a model, or what is not told."""


def inferred_sizes(shapes: Mapping[str, Shape]) -> dict[str, dict[str, Any]]:
    """What the shapes tell about each tower: everything but ``num_attention_heads`` and ``hidden_act``."""
    sizes: dict[str, dict[str, Any]] = {}
    embed = [
        shapes[f"{name}_projection.weight"][0] for name in ("visual", "text") if f"{name}_projection.weight" in shapes
    ]
    for tower in ("text", "vision"):
        found = _tower_sizes(shapes, f"{tower}_model") or (_resnet_sizes(shapes) if tower == "vision" else {})
        if found:
            sizes[f"{tower}_config"] = {**found, **({"projection_dim": embed[0]} if embed else {})}
    return sizes


def _tower_sizes(shapes: Mapping[str, Shape], tower: str) -> dict[str, Any]:
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


def _resnet_sizes(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    position = shapes.get("vision_model.attnpool.positional_embedding")
    stem = shapes.get("vision_model.conv1.weight")
    if position is None or stem is None:
        return {}
    blocks = [f"vision_model.layer{stage}." for stage in range(1, STAGES + 1)]
    return {
        "stage_depths": [len({name.split(".")[2] for name in shapes if name.startswith(block)}) for block in blocks],
        "hidden_size": position[1],
        "num_channels": stem[1],
        "patch_size": TOTAL_STRIDE,
        "image_size": math.isqrt(max(position[0] - 1, 0)) * TOTAL_STRIDE,
    }


def named_config(name: str, shapes: Mapping[str, Shape]) -> AnyConfig:
    """The configuration of a known model or of a tower of it: sizes from the weights, heads and activation by name.

    Raises:
        ConfigError: an unknown name, one that means several things, or weights that are not of that model.
    """
    sizes = inferred_sizes(shapes)
    if name == LIKE_OPENAI:
        _check_like_openai(sizes)
        return Unpublished().config(sizes)
    architecture, activation = _named(name)
    described = architecture.sizes
    wrong = [
        f"a {tower[:-7]} tower with {key} {found.get(key)} instead of {described[tower].get(key)}"
        for tower, found in sizes.items()
        for key in _TELLING
        if found.get(key) != described[tower].get(key)
    ]
    if wrong:
        raise ConfigError(f"{name}: the weights are of another model, {', '.join(wrong)}.")
    return _config(sizes, {tower: described[tower]["num_attention_heads"] for tower in sizes}, activation)


def _named(name: str) -> tuple[Architecture, str]:
    """Architecture and activation of a name: open_clip's of an architecture, or any of a published model."""
    plain = name.removesuffix(QUICK_GELU_SUFFIX)
    if plain in architectures():
        if name in models():
            raise ConfigError(
                f"{name}: is OpenAI's model, with quick_gelu, and open_clip's architecture, with gelu. Say "
                f"{name}/openai for the former, --activation gelu for the latter."
            )
        return architectures()[plain], "gelu" if plain == name else "quick_gelu"
    try:
        found = find_named(name)
    except CheckpointNotFoundError as error:
        raise ConfigError(str(error)) from error
    if found is None:
        raise ConfigError(f"{name}: no such file, and no known model. {names_to_say()}")
    if found.model.activation is None:
        raise ConfigError(f"{name}: {found.model.note}. Give that file, or say --activation.")
    return found.model.architecture, found.model.activation


def _check_like_openai(sizes: Sizes) -> None:
    """Raises `ConfigError` for weights that ``clip.load`` would take for another model."""
    for name, tower in sizes.items():
        width, wide = tower["hidden_size"], tower.get("intermediate_size", 4 * tower["hidden_size"])
        if width % HEAD_DIM or wide != 4 * width:
            raise ConfigError(
                f"{LIKE_OPENAI}: expected a {name[:-7]} tower with heads {HEAD_DIM} wide and an MLP four times as wide "
                f"as itself, got width {width} and an MLP of {wide}. Say --head-width, or give its config.json."
            )


def _config(sizes: Sizes, heads: Mapping[str, int], activation: str) -> AnyConfig:
    text = vision = None
    if "text_config" in sizes:
        found = sizes["text_config"]
        last = found["vocab_size"] - 1
        text = CLIPTextConfig(
            **found,
            num_attention_heads=heads["text_config"],
            hidden_act=activation,
            bos_token_id=max(last - 1, 0),
            eos_token_id=last,
        )
    if "vision_config" in sizes:
        found = sizes["vision_config"]
        acts: dict[str, Any] = {} if "stage_depths" in found else {"hidden_act": activation}
        vision = CLIPVisionConfig(**found, num_attention_heads=heads["vision_config"], **acts)
    if text and vision:
        return CLIPConfig(projection_dim=vision.projection_dim, text_config=text, vision_config=vision)
    tower = text or vision
    if tower is None:
        raise ConfigError("the weights are not those of a whole tower. Fetch or save them again.")
    return tower


def command_to_say(path: Path, sizes: Sizes) -> str:
    """The command that converts weights without a configuration, with the defaults of OpenAI's format if they fit."""
    options = ["--activation", "quick_gelu"]
    for name, option in (("vision_config", "--head-width"), ("text_config", "--text-head-width")):
        width = sizes.get(name, {}).get("hidden_size", 0)
        if name == "vision_config" and width:
            options += [option, str(HEAD_DIM) if width % HEAD_DIM == 0 else "WIDTH"]
        elif width % HEAD_DIM:
            options += [option, "WIDTH"]
    return f"triclip convert {shlex.quote(str(path))} NEW_DIRECTORY --to hf {' '.join(options)}"


def names_to_say() -> str:
    """How to say which model weights without a configuration are of."""
    openai = [name for name in models() if "/" in name and models()[name].source.url.endswith(".pt")]
    known = ", ".join(name for name in openai if name.split("/")[0] not in architectures())
    return (
        "Say which model it is with --config (config= in Python): a config.json or open_clip_config.json; a published "
        f"model that triclip models lists, such as OpenAI's {known}; an architecture of open_clip, such as ViT-B-32 "
        f"(gelu) or ViT-B-32-quickgelu; or {LIKE_OPENAI} for any that OpenAI's clip.load reads (quick_gelu, heads of "
        "64)."
    )
