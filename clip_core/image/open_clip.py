"""open_clip's names for an image transform, which its model table and its ``open_clip_config.json`` use.

open_clip's transform (`open_clip/transform.py`, in evaluation) is OpenAI's with more choices: it resizes the shortest
edge and crops, or squashes to the square, or resizes the longest edge and pads; then it converts to RGB.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clip_core.errors import ConfigError
from clip_core.image.options import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD, Size
from clip_core.image.processor import CLIPImageProcessor

RESAMPLING = {"bilinear": 2, "bicubic": 3}
"""Pillow's number of each filter that open_clip's transform takes."""
RESIZE_MODES = ("shortest", "squash", "longest")
_RANDOM = "random"  # in training; in evaluation it is bicubic
_KEYS = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")


def from_open_clip(described: Mapping[str, Any], image_size: int = 224) -> CLIPImageProcessor:
    """The image processor that a ``preprocess_cfg`` of open_clip describes, to the pixel.

    Args:
        described: ``mean``, ``std``, ``interpolation`` ("bicubic", "bilinear"), ``resize_mode`` ("shortest", "squash",
            "longest"), ``size``, ``fill_color``, ``mode`` ("RGB"); each may be absent or None. Other keys mean nothing
            to open_clip's transform.
        image_size: of the model, in pixels, where ``size`` is absent.

    Raises:
        ConfigError: a value that open_clip's transform refuses, or a size that is not square.
    """
    given = {name: value for name, value in described.items() if name in _KEYS and value is not None}
    _require(given.get("mode", "RGB") == "RGB", "mode", "'RGB'", given)
    interpolation = given.get("interpolation", "bicubic")
    _require(interpolation in (*RESAMPLING, _RANDOM), "interpolation", "'bicubic' or 'bilinear'", given)
    resize_mode = given.get("resize_mode", "shortest")
    _require(resize_mode in RESIZE_MODES, "resize_mode", f"one of {', '.join(RESIZE_MODES)}", given)
    edge = _edge(given.get("size", image_size))
    sizes: dict[str, Size] = {
        "shortest": edge,
        "squash": {"height": edge, "width": edge},
        "longest": {"longest_edge": edge},
    }
    return CLIPImageProcessor(
        size=sizes[resize_mode],
        crop_size=edge,
        do_center_crop=resize_mode != "squash",
        resample=RESAMPLING.get(interpolation, RESAMPLING["bicubic"]),
        image_mean=_per_channel(given.get("mean", OPENAI_CLIP_MEAN)),
        image_std=_per_channel(given.get("std", OPENAI_CLIP_STD)),
        profile="openai",
        fill_color=given.get("fill_color", 0),
    )


def to_open_clip(options: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    """The ``preprocess_cfg`` that is nearest to options as `CLIPImageProcessor.to_dict` gives them.

    What open_clip has no name for is lost, such as other filters, a crop of another size than the resize, and the
    profile: `from_open_clip` of the result shows it.
    """
    filters = {number: name for name, number in RESAMPLING.items()}
    modes = {"shortest_edge": "shortest", "longest_edge": "longest"}
    return {
        "size": image_size,
        "mode": "RGB",
        "mean": _per_channel(options["image_mean"]),
        "std": _per_channel(options["image_std"]),
        "interpolation": filters.get(options["resample"], "bicubic"),
        "resize_mode": modes.get(next(iter(options["size"])), "squash"),
        "fill_color": options.get("fill_color", 0),
    }


def _require(holds: bool, name: str, expected: str, given: Mapping[str, Any]) -> None:
    if not holds:
        raise ConfigError(f"{name}: expected {expected}, as open_clip's transform, got {given[name]!s:.60}")


def _edge(size: Any) -> int:
    edges = list(size) if isinstance(size, list | tuple) else [size]
    if not all(isinstance(edge, int) and not isinstance(edge, bool) for edge in edges) or len(set(edges)) != 1:
        raise ConfigError(f"size: expected the pixels along a side of a square, got {size!s:.60}")
    edge: int = edges[0]
    return edge


def _per_channel(statistic: Any) -> list[float]:
    return [statistic] * 3 if isinstance(statistic, int | float) else list(statistic)
