"""What the files of a published model say and the table does not: an activation, an epsilon, heads, a preprocessing.

A model is known by the name that it was asked for by, or by the digest of its file. A directory is what lies in it: a
copy that somebody trained on, with preprocessing of its own, is nobody's concern but theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_core.checkpoint.files import read_json
from clip_core.checkpoint.switch import placed
from clip_core.config import CLIPConfig
from clip_core.errors import CheckpointError, ConfigError
from clip_core.image.open_clip import RESAMPLING, from_open_clip
from clip_core.image.processor import CLIPImageProcessor
from clip_core.published.table import PublishedModel

_FILTERS = {number: name for name, number in RESAMPLING.items()}
_CONFIG, _PREPROCESSOR = "config.json", "preprocessor_config.json"


def check_as_published(model: PublishedModel, directory: Path, name: str) -> None:
    """Compares ``config.json`` and the preprocessing in a checkpoint directory with the table, where they are there.

    Args:
        name: that it was asked for by.

    Raises:
        ConfigError: something differs; the message lists all, with what was expected and how to load it all the same.
    """
    wrong = []
    config = _config(directory)
    if config is not None:
        wrong += config_differences(model, config)
    processor = _processor(directory)
    if processor is not None:
        wrong += preprocessing_differences(model, processor.to_dict())
    if wrong:
        raise contradiction(model, name, wrong, f"To use it as its files say, give its directory, {directory}")


def contradiction(model: PublishedModel, name: str, wrong: list[str], how_to_insist: str) -> ConfigError:
    """The error for a model that differs from what was published."""
    listed = "".join(f"\n  {line}" for line in wrong)
    published = "" if model.name == name else f"To have it as it was published, say {model.name}. "
    return ConfigError(
        f"{name}: its files contradict what is known of {model.name}, and wrong ones give wrong answers without an "
        f"error:{listed}\n{how_to_insist}. {published}If the table is wrong, please report it."
    )


def config_differences(model: PublishedModel, config: CLIPConfig) -> list[str]:
    """Where a configuration differs from that of a model, one line each."""
    return _differences(model.described, config.to_dict(), _CONFIG)


def _differences(expected: Mapping[str, Any], got: Mapping[str, Any], where: str) -> list[str]:
    wrong = []
    for key, value in expected.items():
        if isinstance(value, Mapping):
            wrong += _differences(value, got[key], f"{where}: {key}")
        elif not _same(value, got.get(key)):
            wrong.append(f"{where}: {key}: expected {value!r}, got {got.get(key)!r}")
    return wrong


def _same(expected: Any, got: Any) -> bool:
    if isinstance(expected, list | tuple):
        return isinstance(got, list | tuple) and len(got) == len(expected) and all(map(_same, expected, got))
    if isinstance(expected, float) and isinstance(got, int | float):
        return math.isclose(expected, got, rel_tol=1e-6)
    return bool(expected == got)


def preprocessing_differences(model: PublishedModel, options: Mapping[str, Any]) -> list[str]:
    """Where a preprocessing, as of `CLIPImageProcessor.to_dict`, differs from that of a model, one line each."""
    known, side = model.preprocessing, model.architecture.image_size
    size = options["size"]
    found = {
        "image_mean": options["image_mean"] if options["do_normalize"] else None,
        "image_std": options["image_std"] if options["do_normalize"] else None,
        "interpolation": _FILTERS.get(options["resample"], f"Pillow's filter {options['resample']}"),
        "resize_mode": resize_mode(options),
        "size": next(iter(size.values())),
        "rescale_factor": options["rescale_factor"] if options["do_rescale"] else None,
    }
    return _differences({**vars(known), "size": side, "rescale_factor": 1 / 255}, found, _PREPROCESSOR)


def resize_mode(options: Mapping[str, Any]) -> str:
    """What the options of an image processor do to the sides: one of the table's words, or a description."""
    size = options["size"]
    if not options["do_resize"]:
        return "none"
    if options["do_center_crop"] and ("shortest_edge" in size or "longest_edge" in size):
        return "shortest" if "shortest_edge" in size else "longest"
    if size.get("height") is not None and size.get("height") == size.get("width"):
        return "squash"
    return f"to {size}{', cropped' if options['do_center_crop'] else ''}"


def configuration_of(model: PublishedModel) -> CLIPConfig:
    """The configuration of a model, as the table has it."""
    described = model.described
    embed = {"projection_dim": described["projection_dim"]}
    towers = {name: {**described[name], **embed} for name in ("text_config", "vision_config")}
    return CLIPConfig.from_dict({**described, **towers})


def processor_of(model: PublishedModel) -> CLIPImageProcessor:
    """The image processor of a model, as the table has it and OpenAI's and open_clip's own transform crop."""
    known = model.preprocessing
    described = {"mean": known.image_mean, "std": known.image_std, "interpolation": known.interpolation}
    return from_open_clip({**described, "resize_mode": known.resize_mode}, model.architecture.image_size)


def _config(directory: Path) -> CLIPConfig | None:
    try:
        described = read_json(placed(directory / _CONFIG))
        return CLIPConfig.from_dict(described) if described.get("model_type") == CLIPConfig.model_type else None
    except (CheckpointError, ValueError, TypeError, AttributeError):  # whoever reads it will say what is wrong with it
        return None


def _processor(directory: Path) -> CLIPImageProcessor | None:
    if not any((directory / name).is_file() for name in (_PREPROCESSOR, "processor_config.json")):
        return None
    try:
        return CLIPImageProcessor.from_directory(directory)
    except (CheckpointError, ValueError, TypeError):  # whoever reads it will say what is wrong with it
        return None
