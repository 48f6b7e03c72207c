"""One image on its way from whatever it was to pixel values, as the options say."""

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from clip_core.image.depth import to_eight_bits
from clip_core.image.inputs import ChannelDimension, Pixels, check_pixels, errors_of_pillow, image_to_array
from clip_core.image.options import ImageOptions, Profile
from clip_core.image.shrinking import Plane, can_shrink, planes_of, shrink
from clip_core.image.transforms import (
    CropRounding,
    crop_array,
    crop_image,
    crop_starts,
    normalize,
    rescale,
    resize_array,
    resize_image,
    resized_size,
    to_layout,
)

CROP_ROUNDING: dict[Profile, CropRounding] = {"huggingface": "floor", "openai": "half_to_even"}
_LEVELS = np.arange(256, dtype=np.uint8)


def transform(
    image: Image.Image | Pixels,
    options: ImageOptions,
    layout: ChannelDimension,
    target: ChannelDimension,
    place: Pixels | None = None,
) -> Pixels:
    """Convert, resize, crop, rescale and normalise one image whose channels are where `layout` says.

    Args:
        place: is filled with the result, and returned, where shape and dtype fit.
    """
    if isinstance(image, Image.Image):
        pixels, layout = _cut_image(image, options)
    else:
        pixels, layout = _cut_array(image, options, layout)
    if pixels.dtype == np.uint8 and (options.do_rescale or options.do_normalize):
        return _from_levels(pixels, options, layout, target, place)
    # The layout is changed while a pixel is still small.
    pixels = np.ascontiguousarray(to_layout(pixels, target, layout))
    return _finished(pixels, options, target)


def _finished(pixels: Pixels, options: ImageOptions, layout: ChannelDimension) -> Pixels:
    if options.do_rescale:
        pixels = rescale(pixels, options.rescale_factor)
    if options.do_normalize:
        pixels = normalize(pixels, options.image_mean, options.image_std, layout)
    return pixels


def _from_levels(
    pixels: Pixels,
    options: ImageOptions,
    layout: ChannelDimension,
    target: ChannelDimension,
    place: Pixels | None,
) -> Pixels:
    """As `_finished`, for pixels of 256 levels: computed once for each level of a channel, and looked up."""
    planes = to_layout(pixels, ChannelDimension.FIRST, layout)
    levels = np.broadcast_to(_LEVELS, (len(planes), 1, 256))
    values = _finished(levels, options, ChannelDimension.FIRST)[:, 0]  # [channel, level]
    shape = to_layout(pixels, target, layout).shape
    if place is None or place.shape != shape or place.dtype != values.dtype:
        place = np.empty(shape, values.dtype)
    for plane, values_of_channel, result in zip(
        planes, values, to_layout(place, ChannelDimension.FIRST, target), strict=True
    ):
        np.take(values_of_channel, plane, out=result, mode="clip")  # no level is beyond 255; to check takes longer
    return place


def _cut_image(image: Image.Image, options: ImageOptions) -> tuple[Pixels, ChannelDimension]:
    """Conversion to 8 bits and RGB, resize and crop of a Pillow image, before it becomes an array."""
    with errors_of_pillow(image):
        image = to_eight_bits(image)
        if options.profile == "huggingface":
            image = image.convert("RGB") if options.do_convert_rgb and image.mode != "RGB" else image
            if image.mode != "RGB":
                # Upstream resizes the bare numbers of such an image, without regard to what its mode says they mean.
                return _cut_array(image_to_array(image), options, ChannelDimension.LAST)
        if options.do_resize and image.mode == "RGB":
            cut = _shrunk((image.height, image.width), lambda: planes_of(image), options)
            if cut is not None:
                return cut, ChannelDimension.FIRST
        if options.do_resize:
            image = resize_image(image, options.size, options.resample)
        if options.do_center_crop:
            image = crop_image(image, options.crop_size, CROP_ROUNDING[options.profile], options.fill_color)
        pixels = image_to_array(image.convert("RGB") if options.do_convert_rgb else image)  # [height, width, channel]
        return pixels, ChannelDimension.LAST


def _cut_array(pixels: Pixels, options: ImageOptions, layout: ChannelDimension) -> tuple[Pixels, ChannelDimension]:
    """Resize and crop of an array, in its own layout or with its channels first."""
    check_pixels(pixels, about_to_rescale=options.do_rescale)
    planes = to_layout(pixels, ChannelDimension.FIRST, layout)
    # Of two or four, the last is alpha to Pillow, by which it weighs the others.
    if options.do_resize and pixels.dtype == np.uint8 and len(planes) in (1, 3):
        cut = _shrunk(planes.shape[1:], lambda: list(planes), options)
        if cut is not None:
            return cut, ChannelDimension.FIRST
    if options.do_resize:
        pixels = resize_array(pixels, options.size, options.resample, layout)
    if options.do_center_crop:
        fractions = not options.do_rescale and np.issubdtype(pixels.dtype, np.floating)
        fill = options.fill_color * options.rescale_factor if fractions else options.fill_color
        pixels = crop_array(pixels, options.crop_size, CROP_ROUNDING[options.profile], layout, fill)
    return pixels, layout


def _shrunk(shape: tuple[int, int], made: Callable[[], Sequence[Plane]], options: ImageOptions) -> Pixels | None:
    """Resize and crop of planes of that height and width at once, where that can be done."""
    size = resized_size(*shape, options.size)
    kept, top, left = size, 0, 0
    if options.do_center_crop:
        kept = options.crop_size["height"], options.crop_size["width"]
        top, left = crop_starts(size, kept, CROP_ROUNDING[options.profile])
    rows, columns = range(size[0])[max(0, top) : top + kept[0]], range(size[1])[max(0, left) : left + kept[1]]
    if not can_shrink(shape, size, (len(rows), len(columns)), options.resample):
        return None
    cut = shrink(made(), size, rows, columns, options.resample)
    if cut is None or cut.shape[1:] == kept:
        return cut
    framed = np.full((len(cut), *kept), options.fill_color, np.uint8)
    framed[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = cut
    return framed
