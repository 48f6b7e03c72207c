"""The options of CLIP's image transform, checked and in one spelling.

Old `preprocessor_config.json` files write `"size": 224`, newer ones `"size": {"shortest_edge": 224}`; both are read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypeAlias

import numpy as np
from PIL import Image

from clip_core.errors import ConfigError

BICUBIC = int(Image.Resampling.BICUBIC)
OPENAI_CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
OPENAI_CLIP_STD = [0.26862954, 0.26130258, 0.27577711]

Profile: TypeAlias = Literal["huggingface", "openai"]
Size: TypeAlias = int | Sequence[int] | dict[str, int]
ChannelStatistic: TypeAlias = float | Sequence[float]

_FARTHEST = 1e6  # from 0; usual statistics keep pixel values within 5
_MOST_PIXELS = 4096 * 4096  # a picture takes some 40 bytes for each while it is prepared


@dataclass(frozen=True, kw_only=True)
class ImageOptions:
    """Everything that decides what the transform does; see `CLIPImageProcessor` for the meaning of each.

    Raises `ConfigError` for a value that describes no transform.
    """

    do_resize: bool
    size: dict[str, int]
    resample: int
    do_center_crop: bool
    crop_size: dict[str, int]
    do_rescale: bool
    rescale_factor: float
    do_normalize: bool
    image_mean: ChannelStatistic
    image_std: ChannelStatistic
    do_convert_rgb: bool
    profile: Profile
    fill_color: int

    def __post_init__(self) -> None:
        for name in ("do_resize", "do_center_crop", "do_rescale", "do_normalize", "do_convert_rgb"):
            if not isinstance(getattr(self, name), bool | np.bool_):
                raise ConfigError(f"{name}: expected True or False, got {getattr(self, name)!r}")
        if self.profile not in ("huggingface", "openai"):
            raise ConfigError(f"profile: expected 'huggingface' or 'openai', got {self.profile!r}")
        if not _is_edge(self.fill_color) or not 0 <= self.fill_color <= 255:
            raise ConfigError(f"fill_color: expected a whole number from 0 to 255, got {self.fill_color!r}")
        object.__setattr__(self, "size", parse_size(self.size))
        object.__setattr__(self, "crop_size", parse_crop_size(self.crop_size))
        object.__setattr__(self, "resample", parse_resample(self.resample))
        _check_number(self.rescale_factor, "rescale_factor")
        check_statistic(self.image_mean, "image_mean")
        check_statistic(self.image_std, "image_std")
        if self.profile != "openai" and ("longest_edge" in self.size or self.fill_color):
            raise ConfigError(
                "size={'longest_edge': n} and fill_color are options of open_clip, not of transformers: "
                f"expected profile 'openai', which open_clip follows, got {self.profile!r}"
            )
        self._check_reach()

    def _check_reach(self) -> None:
        """Refuse statistics that make numbers of black or white which a model can only turn into NaN or a constant."""
        reach = 255 * abs(float(self.rescale_factor)) if self.do_rescale else 255.0
        if self.do_normalize:
            mean, std = (np.abs(np.asarray(each, float)) for each in (self.image_mean, self.image_std))
            with np.errstate(over="ignore"):
                reach = (reach + mean.max(initial=0)) / std.min(initial=np.inf)
        if reach > _FARTHEST:
            raise ConfigError(
                f"image_mean {self.image_mean}, image_std {self.image_std}, rescale_factor {self.rescale_factor}: "
                f"expected pixel values of at most {_FARTHEST:g}, got up to {reach:.3g}. Take the model's own"
            )


def parse_size(size: Any) -> dict[str, int]:
    """What to resize to: an int is the shortest edge, a pair is height and width."""
    if _is_edge(size):
        size = {"shortest_edge": size}
    if isinstance(size, dict) and len(size) == 1 and set(size) < {"shortest_edge", "longest_edge"}:
        [(name, value)] = size.items()
        edge = _edge(value, "size")
        _check_area(edge, edge, "size")
        return {name: edge}
    return _parse_height_width(size, "size", "{'shortest_edge': n}, {'longest_edge': n} or {'height': n, 'width': n}")


def parse_crop_size(size: Any) -> dict[str, int]:
    """What to crop to: an int is a square, a pair is height and width."""
    return _parse_height_width((size, size) if _is_edge(size) else size, "crop_size", "{'height': n, 'width': n}")


def parse_resample(resample: Any) -> int:
    """The number of a Pillow resampling filter, such as 3 for `PIL.Image.Resampling.BICUBIC`."""
    try:
        return int(Image.Resampling(resample))
    except ValueError:
        known = ", ".join(f"{filter_.value} ({filter_.name.lower()})" for filter_ in Image.Resampling)
        raise ConfigError(f"resample: expected one of {known}, got {resample!r}") from None


def check_statistic(values: Any, name: str) -> None:
    """Raise `ConfigError` unless `values` is a number or a sequence of numbers, none of them zero if it divides."""
    numbers = [values] if isinstance(values, Real) else values
    if not isinstance(numbers, list | tuple | np.ndarray):
        raise ConfigError(f"{name}: expected a number, or one per channel, got {values!r}")
    for number in numbers:
        _check_number(number, name)
        if name == "image_std" and number == 0:
            raise ConfigError(f"image_std: expected numbers other than 0, which it would divide by, got {values!r}")


def _parse_height_width(size: Any, name: str, expected: str) -> dict[str, int]:
    if isinstance(size, list | tuple) and len(size) == 2:
        size = {"height": size[0], "width": size[1]}
    if not isinstance(size, dict) or set(size) != {"height", "width"}:
        raise ConfigError(f"{name}: expected an int, [height, width], {expected}, got {size!r}")
    height, width = _edge(size["height"], name), _edge(size["width"], name)
    _check_area(height, width, name)
    return {"height": height, "width": width}


def _check_area(height: int, width: int, name: str) -> None:
    if height * width > _MOST_PIXELS:
        raise ConfigError(
            f"{name}: expected at most {_MOST_PIXELS} pixels (4096 x 4096), got {height!s:.20} x {width!s:.20}"
        )


def _edge(value: Any, name: str) -> int:
    if not _is_edge(value) or value < 1:
        raise ConfigError(f"{name}: expected whole numbers of pixels from 1 on, got {value!r}")
    return int(value)


def _is_edge(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _check_number(value: Any, name: str) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not _is_finite(value):
        raise ConfigError(f"{name}: expected a finite number, got {value!r}")


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False
