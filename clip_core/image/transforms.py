"""Resize, centre crop, rescale and normalise: the arithmetic of CLIP's image transform.

Every result equals transformers 4.57 (`image_transforms.py`) bit for bit or, where that has no such option, open_clip
(`transform.py`); the tests hold the hashes of both. Arrays are `[height, width, channel]` or
`[channel, height, width]`, as their `ChannelDimension` says.
"""

from collections.abc import Collection
from typing import Literal, TypeAlias

import numpy as np
from PIL import Image, ImageOps

from clip_core.errors import ConfigError, ImageError, InputError
from clip_core.image.inputs import ChannelDimension, Pixels

CropRounding: TypeAlias = Literal["floor", "half_to_even"]


def resized_size(height: int, width: int, size: dict[str, int]) -> tuple[int, int]:
    """Height and width after a resize to `{"shortest_edge"}`, `{"longest_edge"}` or `{"height", "width"}`.

    The first two keep the aspect ratio. With the shortest edge given, the longer is truncated (torchvision `Resize`,
    transformers 4); with the longest given, both are rounded (open_clip, `ResizeKeepRatio`).
    Raises `ImageError` if the result would exceed Pillow's limit on pixels: one row of 60,000 pixels, a file of a few
    hundred bytes, would grow to 10 GB. Also if it would have no pixel.
    """
    if "shortest_edge" in size:
        short, long = sorted((height, width))
        edge = size["shortest_edge"]
        new_long = int(edge * long / short)
        height, width = (new_long, edge) if width <= height else (edge, new_long)
    elif "longest_edge" in size:
        ratio = max(height / size["longest_edge"], width / size["longest_edge"])
        height, width = round(height / ratio), round(width / ratio)
        if not height or not width:
            raise ImageError(
                f"the image's aspect ratio is too extreme: resized to {size} it would be {height} x {width} pixels. "
                "Crop it first"
            )
    else:
        height, width = size["height"], size["width"]
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and height * width > 2 * limit:
        raise ImageError(
            f"the image's aspect ratio is too extreme: resized to {size} it would be {height} x {width} pixels. "
            "Crop it first, or raise PIL.Image.MAX_IMAGE_PIXELS"
        )
    return height, width


def resize_image(image: Image.Image, size: dict[str, int], resample: int) -> Image.Image:
    """Resize a Pillow image in its own mode.

    Pillow rounds to 8 bits after each of its two passes. Pillow 13 does the vertical pass first if the height loses
    more than twice as many pixels as the width, older ones never do: there, equal results need the same side of that
    version. Of CLIP's own transform that concerns pictures more than twice as high as wide.
    """
    height, width = resized_size(image.height, image.width, size)
    return image.resize((width, height), resample=Image.Resampling(resample))


def resize_array(pixels: Pixels, size: dict[str, int], resample: int, layout: ChannelDimension) -> Pixels:
    """Resize through an 8-bit Pillow image.

    Fractions in [0, 1] are quantised to 8 bits and come back as float32 in [0, 1]; all else comes back as uint8.
    Raises `InputError` for values outside [0, 255] or fractions outside [0, 1], and for more than 4 channels.
    """
    fractions = _holds_fractions(pixels)
    channels_last = to_layout(pixels, ChannelDimension.LAST, layout)  # [height, width, channel]
    if channels_last.shape[-1] > 4:
        raise InputError(f"expected 1 to 4 channels to resize, got shape {pixels.shape} as {layout}")
    if channels_last.shape[-1] == 1:
        channels_last = channels_last[..., 0]
    eight_bit = (rescale(channels_last, 255) if fractions else channels_last).astype(np.uint8)
    resized = np.asarray(resize_image(Image.fromarray(eight_bit), size, resample))
    resized = resized[..., None] if resized.ndim == 2 else resized
    resized = to_layout(resized, layout, ChannelDimension.LAST)
    return rescale(resized, 1 / 255) if fractions else resized


def crop_image(image: Image.Image, size: dict[str, int], rounding: CropRounding, fill: int = 0) -> Image.Image:
    """Cut the middle out of a Pillow image; what lies outside it becomes `fill`, in the terms of its mode.

    That is an index of a palette, a grey, or that number in every channel: as torchvision pads.
    """
    if fill:
        image = _padded_image(image, size, rounding, fill)
    top = _crop_start(image.height, size["height"], rounding)
    left = _crop_start(image.width, size["width"], rounding)
    return image.crop((left, top, left + size["width"], top + size["height"]))


def crop_array(
    pixels: Pixels, size: dict[str, int], rounding: CropRounding, layout: ChannelDimension, fill: float = 0
) -> Pixels:
    """Cut the middle out of an array; what lies outside it becomes `fill`."""
    height_axis, width_axis = (-2, -1) if layout == ChannelDimension.FIRST else (-3, -2)
    pixels = _crop_axis(pixels, height_axis, size["height"], rounding, fill)
    return _crop_axis(pixels, width_axis, size["width"], rounding, fill)


def crop_starts(size: tuple[int, int], crop: tuple[int, int], rounding: CropRounding) -> tuple[int, int]:
    """The first row and the first column of the middle; negative where an image is smaller than the crop."""
    return _crop_start(size[0], crop[0], rounding), _crop_start(size[1], crop[1], rounding)


def rescale(pixels: Pixels, factor: float) -> Pixels:
    """`pixels * factor`, multiplied in float64 and rounded once to float32."""
    return (pixels.astype(np.float64) * factor).astype(np.float32)


def normalize(
    pixels: Pixels, mean: float | Collection[float], std: float | Collection[float], layout: ChannelDimension
) -> Pixels:
    """`(pixels - mean) / std` per channel, in the dtype of floating-point pixels and in float32 for others."""
    channel_axis = 0 if layout == ChannelDimension.FIRST else 2
    if not np.issubdtype(pixels.dtype, np.floating):
        pixels = pixels.astype(np.float32)
    shape = tuple(-1 if axis == channel_axis else 1 for axis in range(3))
    channels = pixels.shape[channel_axis]
    means = _per_channel(mean, channels, "image_mean").astype(pixels.dtype).reshape(shape)
    deviations = _per_channel(std, channels, "image_std").astype(pixels.dtype).reshape(shape)
    normalized: Pixels = (pixels - means) / deviations
    return normalized


def to_layout(pixels: Pixels, target: ChannelDimension, source: ChannelDimension) -> Pixels:
    """A view of `pixels`, laid out as `source`, with its channel axis where `target` wants it."""
    if target == source:
        return pixels
    return pixels.transpose(2, 0, 1) if target == ChannelDimension.FIRST else pixels.transpose(1, 2, 0)


def _holds_fractions(pixels: Pixels) -> bool:
    """Whether the values are fractions of 1; otherwise they are integers in [0, 255], whatever their dtype."""
    if pixels.dtype == np.uint8:
        return False
    low, high = pixels.min(), pixels.max()
    whole = np.allclose(pixels, pixels.astype(np.int64))
    limit = 255 if whole else 1
    if low < 0 or high > limit:
        kind = "whole" if whole else "fractional"
        raise InputError(
            f"expected {kind} pixel values in [0, {limit}] to resize, got {low:.4g} to {high:.4g}. "
            "Give uint8, or fractions of 1 with do_rescale=False"
        )
    return not whole


def _crop_start(length: int, crop: int, rounding: CropRounding) -> int:
    """Where the crop begins; negative if the image is shorter than the crop.

    transformers 4 floors: of an odd rest the smaller part lies in front, of odd padding the larger. torchvision, which
    OpenAI used, rounds half to even when it cuts and puts the smaller padding in front.
    """
    if rounding == "floor":
        return (length - crop) // 2
    return round((length - crop) / 2) if length >= crop else -((crop - length) // 2)


def _margins(length: int, crop: int, rounding: CropRounding) -> tuple[int, int]:
    """How many pixels the crop takes before the image begins, and after it ends."""
    start = _crop_start(length, crop, rounding)
    return max(0, -start), max(0, start + crop - length)


def _padded_image(image: Image.Image, size: dict[str, int], rounding: CropRounding, fill: int) -> Image.Image:
    """The image with as much around it as the crop lacks."""
    left, right = _margins(image.width, size["width"], rounding)
    top, bottom = _margins(image.height, size["height"], rounding)
    bands = len(image.getbands())
    return ImageOps.expand(image, (left, top, right, bottom), fill if bands == 1 else (fill,) * bands)


def _crop_axis(pixels: Pixels, axis: int, crop: int, rounding: CropRounding, fill: float) -> Pixels:
    length = pixels.shape[axis]
    start = _crop_start(length, crop, rounding)
    before, after = _margins(length, crop, rounding)
    inside = np.moveaxis(np.moveaxis(pixels, axis, 0)[max(0, start) : start + crop], 0, axis)
    if not before and not after:
        return inside
    padding = [(0, 0)] * pixels.ndim
    padding[axis] = (before, after)
    return np.pad(inside, padding, constant_values=fill)


def _per_channel(values: float | Collection[float], channels: int, name: str) -> np.ndarray:
    if not isinstance(values, Collection):
        return np.full(channels, values)
    if len(values) != channels:
        raise ConfigError(f"{name}: expected {channels} values for {channels} channels, got {len(values)}: {values}")
    return np.array(values)
