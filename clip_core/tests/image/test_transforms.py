"""Sizes, margins, and what the arithmetic does at its edges."""

import numpy as np
import pytest
from PIL import Image

from clip_core.errors import ConfigError, ImageError, InputError
from clip_core.image.inputs import ChannelDimension
from clip_core.image.transforms import crop_array, crop_image, normalize, rescale, resize_array, resized_size, to_layout
from clip_core.tests.synthetic_images import synthetic_array

FIRST, LAST = ChannelDimension.FIRST, ChannelDimension.LAST


@pytest.mark.parametrize(
    ("height", "width", "size", "expected"),
    [
        (427, 640, {"shortest_edge": 224}, (224, 335)),  # 335.74: truncated, not rounded
        (640, 427, {"shortest_edge": 224}, (335, 224)),
        (1, 1, {"shortest_edge": 224}, (224, 224)),
        (1, 5, {"shortest_edge": 3}, (3, 15)),
        (10, 20, {"height": 7, "width": 3}, (7, 3)),
    ],
)
def test_resized_size(height: int, width: int, size: dict[str, int], expected: tuple[int, int]) -> None:
    assert resized_size(height, width, size) == expected


def test_resized_size_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="224 x 13440000 pixels"):
        resized_size(1, 60_000, {"shortest_edge": 224})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert resized_size(1, 60_000, {"shortest_edge": 224}) == (224, 13_440_000)


@pytest.mark.parametrize(
    ("length", "crop", "floor", "half_to_even"),
    [
        (10, 4, [3, 4, 5, 6], [3, 4, 5, 6]),
        (9, 4, [2, 3, 4, 5], [2, 3, 4, 5]),  # a margin of 5: both take 2
        (7, 4, [1, 2, 3, 4], [2, 3, 4, 5]),  # a margin of 3: 1 and 2
        (4, 4, [0, 1, 2, 3], [0, 1, 2, 3]),
        (1, 4, [-1, -1, 0, -1], [-1, 0, -1, -1]),  # -1 is padding
        (2, 4, [-1, 0, 1, -1], [-1, 0, 1, -1]),
    ],
)
def test_crop_margins(length: int, crop: int, floor: list[int], half_to_even: list[int]) -> None:
    ramp = (np.arange(length, dtype=np.uint8) + 1).reshape(1, length, 1)  # padding is 0, so -1 after subtracting 1
    for rounding, expected in (("floor", floor), ("half_to_even", half_to_even)):
        size = {"height": 1, "width": crop}
        assert (crop_array(ramp, size, rounding, LAST)[0, :, 0].astype(int) - 1).tolist() == expected
        upright = crop_array(ramp.transpose(2, 1, 0), {"height": crop, "width": 1}, rounding, FIRST)
        assert (upright[0, :, 0].astype(int) - 1).tolist() == expected
        image = crop_image(Image.fromarray(ramp[..., 0]), size, rounding)
        assert (np.asarray(image)[0].astype(int) - 1).tolist() == expected


def test_rescale_rounds_once() -> None:
    values = np.arange(256, dtype=np.uint8)
    assert np.array_equal(rescale(values, 1 / 255), values.astype(np.float32) / np.float32(255))  # as ToTensor does
    assert rescale(values, 1 / 255).dtype == np.float32


def test_normalize_follows_the_channel_axis_and_dtype() -> None:
    pixels = synthetic_array(4, 5).astype(np.float16)
    last = normalize(pixels, [1, 2, 3], [4, 5, 6], LAST)
    first = normalize(pixels.transpose(2, 0, 1), [1, 2, 3], [4, 5, 6], FIRST)
    assert np.array_equal(last.transpose(2, 0, 1), first)
    assert last.dtype == np.float16
    assert normalize(synthetic_array(4, 5), 1.0, 2.0, LAST).dtype == np.float32


def test_normalize_refuses_another_number_of_channels() -> None:
    with pytest.raises(ConfigError, match="image_std: expected 3 values for 3 channels, got 4"):
        normalize(synthetic_array(4, 5), 0.0, [1, 1, 1, 1], LAST)


def test_resize_quantises_fractions_and_keeps_whole_numbers() -> None:
    whole = synthetic_array(6, 5).astype(np.float64)
    size = {"height": 6, "width": 5}
    assert resize_array(whole, size, 3, LAST).dtype == np.uint8
    fractions = resize_array(whole / 255, size, 3, LAST)
    assert fractions.dtype == np.float32
    assert np.abs(fractions - whole / 255).max() < 1 / 255


def test_resize_refuses_more_channels_than_pillow_has() -> None:
    with pytest.raises(InputError, match=r"1 to 4 channels to resize, got shape \(6, 5, 7\) as channels_last"):
        resize_array(synthetic_array(6, 5, 7), {"shortest_edge": 3}, 3, LAST)


def test_to_layout_is_its_own_inverse() -> None:
    pixels = synthetic_array(4, 5)
    assert to_layout(pixels, FIRST, LAST).shape == (3, 4, 5)
    assert np.array_equal(to_layout(to_layout(pixels, FIRST, LAST), LAST, FIRST), pixels)
