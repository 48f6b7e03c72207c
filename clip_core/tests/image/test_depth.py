"""Grey of more than 8 bits becomes the same grey in 8, or an error where it is not known what white is."""

import numpy as np
import pytest
from PIL import Image

from clip_core.errors import ImageError
from clip_core.image.depth import to_eight_bits
from clip_core.tests.synthetic_images import synthetic_image

GREY = np.arange(65536, dtype=np.uint16).reshape(256, 256)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_sixteen_bits_are_read_as_pillow_reads_16_bits_of_colour(mode: str) -> None:
    wide = Image.fromarray(GREY)
    grey = to_eight_bits(wide if mode == "I;16" else wide.convert(mode))
    assert grey.mode == "L"
    assert np.array_equal(np.asarray(grey), GREY >> 8)


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_of_eight_bits_stay_what_they_are(mode: str) -> None:
    grey = synthetic_image("L", 16, 16)
    assert np.array_equal(np.asarray(to_eight_bits(grey.convert(mode))), np.asarray(grey))


def test_sixteen_bits_of_few_values_are_dark() -> None:
    assert not np.asarray(to_eight_bits(Image.fromarray(GREY % 256))).any()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK"])
def test_other_modes_are_left_alone(mode: str) -> None:
    image = synthetic_image(mode, 4, 5)
    assert to_eight_bits(image) is image


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (-1, 9, "i4"),
        (0, 65536, "i4"),
        (0, 300, "i4"),
        (0, 300, "f4"),
        (0, 1, "f4"),
        (0, np.nan, "f4"),
        (0, np.inf, "f4"),
    ],
)
def test_what_could_be_anything_is_refused(low: float, high: float, dtype: str) -> None:
    with pytest.raises(ImageError, match="expected grey values from 0 to 255 or to 65535.*mode 'L'"):
        to_eight_bits(Image.fromarray(np.array([[low, high]], dtype)))
