"""One image on its way from whatever it was to pixel values, as the options say."""

import numpy as np
from PIL import Image

from clip_core.image.depth import to_eight_bits
from clip_core.image.inputs import ChannelDimension, Pixels, check_pixels, errors_of_pillow, image_to_array
from clip_core.image.options import ImageOptions, Profile
from clip_core.image.transforms import (
    CropRounding,
    crop_array,
    crop_image,
    normalize,
    rescale,
    resize_array,
    resize_image,
    to_layout,
)

CROP_ROUNDING: dict[Profile, CropRounding] = {"huggingface": "floor", "openai": "half_to_even"}


def transform(
    image: Image.Image | Pixels, options: ImageOptions, layout: ChannelDimension, target: ChannelDimension
) -> Pixels:
    """Convert, resize, crop, rescale and normalise one image whose channels are where `layout` says."""
    pixels = _cut_image(image, options) if isinstance(image, Image.Image) else _cut_array(image, options, layout)
    # The layout is changed while a pixel is still small.
    pixels = np.ascontiguousarray(to_layout(pixels, target, layout))
    if options.do_rescale:
        pixels = rescale(pixels, options.rescale_factor)
    if options.do_normalize:
        pixels = normalize(pixels, options.image_mean, options.image_std, target)
    return pixels


def _cut_image(image: Image.Image, options: ImageOptions) -> Pixels:
    """Conversion to 8 bits and RGB, resize and crop of a Pillow image, before it becomes an array."""
    with errors_of_pillow(image):
        image = to_eight_bits(image)
        if options.profile == "huggingface":
            image = image.convert("RGB") if options.do_convert_rgb and image.mode != "RGB" else image
            if image.mode != "RGB":
                # Upstream resizes the bare numbers of such an image, without regard to what its mode says they mean.
                return _cut_array(image_to_array(image), options, ChannelDimension.LAST)
        if options.do_resize:
            image = resize_image(image, options.size, options.resample)
        if options.do_center_crop:
            image = crop_image(image, options.crop_size, CROP_ROUNDING[options.profile], options.fill_color)
        return image_to_array(image.convert("RGB") if options.do_convert_rgb else image)  # [height, width, channel]


def _cut_array(pixels: Pixels, options: ImageOptions, layout: ChannelDimension) -> Pixels:
    """Resize and crop of an array, in its own layout."""
    check_pixels(pixels, about_to_rescale=options.do_rescale)
    if options.do_resize:
        pixels = resize_array(pixels, options.size, options.resample, layout)
    if options.do_center_crop:
        fractions = not options.do_rescale and np.issubdtype(pixels.dtype, np.floating)
        fill = options.fill_color * options.rescale_factor if fractions else options.fill_color
        pixels = crop_array(pixels, options.crop_size, CROP_ROUNDING[options.profile], layout, fill)
    return pixels
