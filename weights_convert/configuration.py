"""The configuration of a checkpoint: read where there is one, else inferred from shapes as far as that goes.

Shapes tell every size but the number of heads and the activation. Those come from what the user says, from a file
beside the weights, from the configuration inside the archive, or from the digest of a published file; never by guess.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.tensors import Shape
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, ConfigError
from weights_convert.containers.opened import Container
from weights_convert.formats import keras_hub, open_clip
from weights_convert.formats.openai import CONFIG_INSIDE, HEAD_DIM
from weights_convert.model import AnyConfig, Format

PUBLISHED = {
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B/32",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B/16",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L/14",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "ViT-L/14@336px",
}
"""SHA-256 of the files that OpenAI published, which is part of their addresses."""

_HEAD_DIMS = {
    "ViT-S": 64,
    "ViT-M": 64,
    "ViT-B": 64,
    "ViT-L": 64,
    "ViT-H": 80,
    "ViT-g": 88,
    "ViT-bigG": 104,
    "ViT-e": 112,
}
"""Width of a head of the vision tower, by size; that of the text tower is 64 in all of them."""
_WIDTHS = {"ViT-S": 384, "ViT-M": 512, "ViT-B": 768, "ViT-L": 1024, "ViT-H": 1280, "ViT-g": 1408, "ViT-bigG": 1664,
           "ViT-e": 1792}  # fmt: skip
_OPENAI_NAMES = tuple(PUBLISHED.values())
_OPEN_CLIP_NAME = re.compile(r"(ViT-(?:S|M|B|L|H|g|bigG|e))-(\d\d)(?:-alt|-plus)?(?:-\d{3})?(-quickgelu)?")
_SMALLEST_PUBLISHED_BYTES = 300_000_000


@dataclass(frozen=True)
class FoundConfig:
    """A configuration and where it came from."""

    config: AnyConfig
    origin: str


def find_config(
    container: Container, format_: Format, shapes: Mapping[str, Shape], given: str | PathLike[str] | AnyConfig | None
) -> FoundConfig:
    """The configuration of the weights in a container.

    Args:
        shapes: of the weights, by their names in the shared scheme.
        given: what the user says: a configuration, the path of a configuration file, or the name of a model.

    Raises:
        ConfigError: there is none and the shapes do not tell all; or the named model is another.
        CheckpointFormatError: a configuration file is malformed.
    """
    found = _given(given, shapes) or _inside(container) or _beside(container, format_) or _published(container, shapes)
    if found is None:
        raise ConfigError(_what_to_say(container, inferred_sizes(shapes)))
    return replace(found, config=_own_part(found.config, shapes))


def _given(given: str | PathLike[str] | AnyConfig | None, shapes: Mapping[str, Shape]) -> FoundConfig | None:
    if given is None:
        return None
    if isinstance(given, CLIPConfig | CLIPTextConfig | CLIPVisionConfig):
        return FoundConfig(given, "the configuration that was given")
    if Path(given).exists():
        return FoundConfig(read_config(Path(given)), str(given))
    return FoundConfig(named_config(str(given), shapes), f"the name {given}")


def _inside(container: Container) -> FoundConfig | None:
    content = container.extra.get(CONFIG_INSIDE)
    if content is None:
        return None
    try:
        described = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointFormatError(f"{container.path}: the configuration inside is not JSON: {error}") from error
    return FoundConfig(_parsed(described, container.path), f"{CONFIG_INSIDE} inside the archive")


def _beside(container: Container, format_: Format) -> FoundConfig | None:
    for name in format_.config_files:
        path = container.path.parent / name
        if path.is_file():
            return FoundConfig(read_config(path), name)
    return None


def _published(container: Container, shapes: Mapping[str, Shape]) -> FoundConfig | None:
    """Known by the digest of the whole file, which is computed only for files that can be one of them."""
    if container.kind != "torchscript" or container.path.stat().st_size < _SMALLEST_PUBLISHED_BYTES:
        return None
    with open(container.path, "rb") as file:
        name = PUBLISHED.get(hashlib.file_digest(file, "sha256").hexdigest())
    return None if name is None else FoundConfig(named_config(name, shapes), f"the digest of OpenAI's {name}")


def read_config(path: Path) -> AnyConfig:
    """The configuration in a file of transformers or Triclip, of open_clip or of Keras Hub.

    Args:
        path: the file, or a directory that holds it as ``config.json``.
    """
    path = path / "config.json" if path.is_dir() else path
    return _parsed(read_json(path), path)


def _parsed(described: Any, path: Path) -> AnyConfig:
    if not isinstance(described, dict):
        raise CheckpointFormatError(f"{path}: expected a JSON object.")
    model_cfg = described.get("model_cfg", described)
    if isinstance(model_cfg, dict) and "vision_cfg" in model_cfg:
        return open_clip.parse_config(described, path)
    if "class_name" in described:
        return keras_hub.parse_config(described, path)
    classes: dict[Any, type[AnyConfig]] = {
        kind.model_type: kind for kind in (CLIPConfig, CLIPTextConfig, CLIPVisionConfig)
    }
    found = described.get("model_type")
    if not isinstance(found, str) or found not in classes:
        raise CheckpointFormatError(f"{path}: expected a model_type of {', '.join(classes)}, got {found!r}.")
    try:
        return classes[found].from_dict(described)
    except (TypeError, AttributeError) as error:
        raise CheckpointFormatError(f"{path}: not a configuration of CLIP: {error}") from error


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
        raise ConfigError(f"{name}: no such file, and no known model. {_names_to_say()}")
    family, patch = (match[1], int(match[2])) if match else (name.split("/")[0], int(name.split("/")[1][:2]))
    activation = "quick_gelu" if not match or match[3] else "gelu"
    sizes = inferred_sizes(shapes)
    if set(sizes) != {"text_config", "vision_config"}:
        raise ConfigError(f"{name}: names a whole model, the weights are of a part. Give its config.json.")
    text, vision = sizes["text_config"], sizes["vision_config"]
    usual = "alt" in name or "plus" in name or vision["hidden_size"] == _WIDTHS[family]
    head_dim = _HEAD_DIMS[family]
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


def _own_part(config: AnyConfig, shapes: Mapping[str, Shape]) -> AnyConfig:
    """The tower's part, where the weights are of one tower and the configuration of both."""
    has_text = any(name.startswith("text_model.") for name in shapes)
    has_vision = any(name.startswith("vision_model.") for name in shapes)
    if not isinstance(config, CLIPConfig) or has_text == has_vision:
        return config
    tower: CLIPTextConfig | CLIPVisionConfig = config.text_config if has_text else config.vision_config
    return replace(tower, projection_dim=config.projection_dim)


def _what_to_say(container: Container, sizes: Mapping[str, Mapping[str, Any]]) -> str:
    known = "; ".join(f"{name[:-7]}: {json.dumps(found)}" for name, found in sizes.items()) or "nothing"
    return (
        f"{container.path}: has no configuration. Its shapes tell {known}; they cannot tell num_attention_heads and "
        f"hidden_act, and wrong ones give wrong answers without an error. {_names_to_say()}"
    )


def _names_to_say() -> str:
    return (
        "Say which model it is with --config (config= in Python): a config.json or open_clip_config.json; "
        f"one of OpenAI's models, {', '.join(_OPENAI_NAMES)} (quick_gelu); or a name of open_clip, such as ViT-B-32 "
        "(gelu) or ViT-B-32-quickgelu."
    )
