"""The configuration of a checkpoint: read where there is one, else inferred from shapes as far as that goes.

Shapes tell every size, but not the number of heads, the activation and where a text ends. Those come from what the user
says, from a file beside the weights, from the configuration inside the archive, or from the digest of a published file;
never by guess.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.switch import placed
from clip_core.checkpoint.tensors import Shape
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, ConfigError
from clip_core.published.contradictions import config_differences, configuration_of, contradiction
from clip_core.published.names import by_digest
from clip_core.published.table import PublishedModel
from weights_convert.companions import HUGGING_FACE_CONFIG
from weights_convert.containers.opened import Container
from weights_convert.downloading import file_sha256
from weights_convert.format import Format
from weights_convert.formats import FORMATS
from weights_convert.known_models import (
    GivenConfig,
    Unpublished,
    command_to_say,
    inferred_sizes,
    named_config,
    names_to_say,
)
from weights_convert.model import AnyConfig
from weights_convert.untold import TO_FILL_IN, check_told, config_to_fill_in

_CONFIG_FILES = tuple(
    dict.fromkeys(format_.config for format_ in FORMATS.values() if format_.config is not HUGGING_FACE_CONFIG)
)

_SMALLEST_PUBLISHED_BYTES = 200_000_000


@dataclass(frozen=True)
class FoundConfig:
    """A configuration and where it came from."""

    config: AnyConfig
    origin: str


def find_config(
    container: Container, format_: Format, shapes: Mapping[str, Shape], given: GivenConfig | None
) -> FoundConfig:
    """The configuration of the weights in a container.

    Args:
        shapes: of the weights, by their names in the shared scheme.
        given: what the user says: a configuration, the path of a configuration file, or the name of a model.

    Raises:
        ConfigError: there is none and the shapes do not tell all; or the named model is another; or the name, or a file
            beside the weights, contradicts what is known of them by their digest.
        CheckpointFormatError: a configuration file is malformed.
    """
    found = (
        _given(container, given, shapes) or _inside(container) or _beside(container, format_) or _published(container)
    )
    if found is None:
        raise ConfigError(_what_to_say(container, inferred_sizes(shapes)))
    return replace(found, config=_own_part(found.config, shapes))


def _given(container: Container, given: GivenConfig | None, shapes: Mapping[str, Shape]) -> FoundConfig | None:
    if given is None:
        return None
    if isinstance(given, CLIPConfig | CLIPTextConfig | CLIPVisionConfig):
        return FoundConfig(given, "the configuration that was given")
    if isinstance(given, Unpublished):
        return FoundConfig(given.config(inferred_sizes(shapes)), f"what was said: {_said(given)}")
    if Path(given).exists():
        described, path = _described(Path(given))
        if HUGGING_FACE_CONFIG.describes(described):
            check_told(described, path, inferred_sizes(shapes))
        return FoundConfig(_parsed(described, path), str(given))
    config = named_config(str(given), shapes)
    _check_known(container, config, f"the name {given}", "To use it so all the same, give --activation or a file")
    return FoundConfig(config, f"the name {given}")


def _said(given: Unpublished) -> str:
    return f"{given.activation}, heads {given.head_width} wide, {given.text_head_width} in texts"


def _inside(container: Container) -> FoundConfig | None:
    content = container.extra.get(HUGGING_FACE_CONFIG.name)
    if content is None:
        return None
    try:
        described = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise CheckpointFormatError(f"{container.path}: the configuration inside is not JSON: {error}") from error
    return FoundConfig(_parsed(described, container.path), f"{HUGGING_FACE_CONFIG.name} inside the archive")


def _beside(container: Container, format_: Format) -> FoundConfig | None:
    path = container.path.parent / format_.config.name
    if not os.path.lexists(placed(path)):
        return None
    config = read_config(path)
    _check_known(container, config, str(path), f"To use it as that file says, give it: --config {path}")
    return FoundConfig(config, path.name)


def _check_known(container: Container, config: AnyConfig, said_by: str, how_to_insist: str) -> None:
    """Raises `ConfigError` where a configuration is not that of the model whose published file this is."""
    model = _known(container)
    wrong = config_differences(model, config) if model is not None and isinstance(config, CLIPConfig) else []
    if model is not None and wrong:
        raise contradiction(model, said_by, wrong, how_to_insist)


def _published(container: Container) -> FoundConfig | None:
    model = _known(container)
    return None if model is None else FoundConfig(configuration_of(model), f"the digest of OpenAI's {model.name}")


def _known(container: Container) -> PublishedModel | None:
    """The model whose file this is, by the digest of all of it, which is computed only for files that can be one."""
    if container.kind != "torchscript" or container.path.stat().st_size < _SMALLEST_PUBLISHED_BYTES:
        return None
    return by_digest().get(file_sha256(container.path))


def read_config(path: Path) -> AnyConfig:
    """The configuration in a file of transformers or Triclip, of open_clip or of Keras Hub.

    Args:
        path: the file, or a directory that holds it as ``config.json``.
    """
    return _parsed(*_described(path))


def _described(path: Path) -> tuple[dict[str, Any], Path]:
    path = path / HUGGING_FACE_CONFIG.name if path.is_dir() else path
    return read_json(placed(path)), path


def _parsed(described: Any, path: Path) -> AnyConfig:
    if not isinstance(described, dict):
        raise CheckpointFormatError(f"{path}: expected a JSON object.")
    kinds = [kind for kind in _CONFIG_FILES if kind.describes(described)]
    return (kinds or [HUGGING_FACE_CONFIG])[0].parse(described, path)


def _own_part(config: AnyConfig, shapes: Mapping[str, Shape]) -> AnyConfig:
    """The tower's part, where the weights are of one tower and the configuration of both."""
    has_text = any(name.startswith("text_model.") for name in shapes)
    has_vision = any(name.startswith("vision_model.") for name in shapes)
    if not isinstance(config, CLIPConfig) or has_text == has_vision:
        return config
    tower: CLIPTextConfig | CLIPVisionConfig = config.text_config if has_text else config.vision_config
    return replace(tower, projection_dim=config.projection_dim)


def _what_to_say(container: Container, sizes: Mapping[str, Mapping[str, Any]]) -> str:
    return (
        f"{container.path}: has no configuration, and wrong numbers of heads, activations and ends of text give wrong "
        f"answers without an error. {names_to_say()} Or say what shapes do not tell, here with what OpenAI's format "
        f"means without a word:\n  {command_to_say(container.path, sizes)}\nOr give a config.json, in which "
        f"{TO_FILL_IN!r} is to be filled in:\n  {json.dumps(config_to_fill_in(sizes))}"
    )
