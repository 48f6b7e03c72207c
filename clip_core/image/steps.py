"""The steps of the image transform one by one, on single arrays."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image

from clip_core.errors import InputTypeError
from clip_core.image.inputs import ChannelDimension, Pixels, flatten_images, infer_layout
from clip_core.image.options import (
    BICUBIC,
    ChannelStatistic,
    Profile,
    Size,
    check_statistic,
    parse_crop_size,
    parse_resample,
    parse_size,
)
from clip_core.image.pipeline import CROP_ROUNDING
from clip_core.image.transforms import crop_array, normalize, rescale, resize_array, to_layout


class Steps:
    """What upstream's image processor offers beside the whole transform."""

    profile: Profile
    fill_color: int

    def resize(
        self,
        image: Pixels,
        size: Size,
        resample: int = BICUBIC,
        data_format: ChannelDimension | str | None = None,
        input_data_format: ChannelDimension | str | None = None,
    ) -> Pixels:
        """Resize one array; `data_format` is the layout of the result, that of the image if left out."""
        layout, target = _layouts(image, input_data_format, data_format)
        return to_layout(resize_array(image, parse_size(size), parse_resample(resample), layout), target, layout)

    def center_crop(
        self,
        image: Pixels,
        size: Size,
        data_format: ChannelDimension | str | None = None,
        input_data_format: ChannelDimension | str | None = None,
    ) -> Pixels:
        """Cut the middle out of one array; what lies outside it becomes `fill_color`."""
        layout, target = _layouts(image, input_data_format, data_format)
        cropped = crop_array(image, parse_crop_size(size), CROP_ROUNDING[self.profile], layout, self.fill_color)
        return to_layout(cropped, target, layout)

    def rescale(
        self,
        image: Pixels,
        scale: float,
        data_format: ChannelDimension | str | None = None,
        input_data_format: ChannelDimension | str | None = None,
    ) -> Pixels:
        """Multiply one array by `scale`; the result is float32."""
        layout, target = _layouts(image, input_data_format, data_format)
        return to_layout(rescale(image, scale), target, layout)

    def normalize(
        self,
        image: Pixels,
        mean: ChannelStatistic,
        std: ChannelStatistic,
        data_format: ChannelDimension | str | None = None,
        input_data_format: ChannelDimension | str | None = None,
    ) -> Pixels:
        """`(image - mean) / std` of one array, per channel."""
        layout, target = _layouts(image, input_data_format, data_format)
        check_statistic(mean, "image_mean")
        check_statistic(std, "image_std")
        return to_layout(normalize(image, mean, std, layout), target, layout)


def layout_of_arrays(
    named_images: Mapping[str, Image.Image | Pixels], given: ChannelDimension | str | None
) -> ChannelDimension:
    """The layout of the arrays among images: what was given, or what their shapes say."""
    if given is not None:
        return ChannelDimension.parse(given, "input_data_format")
    arrays = {name: image for name, image in named_images.items() if not isinstance(image, Image.Image)}
    return infer_layout(arrays) if arrays else ChannelDimension.LAST


def _layouts(
    image: Pixels, given: ChannelDimension | str | None, target: ChannelDimension | str | None
) -> tuple[ChannelDimension, ChannelDimension]:
    """The layout of one array, and that of the result."""
    if not isinstance(image, np.ndarray) or image.ndim != 3:
        found = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputTypeError(f"image: expected a 3-D NumPy array, got {found}. preprocess takes all else")
    layout = layout_of_arrays(flatten_images(image), given)
    return layout, layout if target is None else ChannelDimension.parse(target, "data_format")
