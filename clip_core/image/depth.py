"""Grey pictures of more than 8 bits, whose numbers Pillow cuts off at 255 instead of scaling them.

Pillow takes the high byte of 16-bit colour when it reads a file; 16-bit grey keeps its numbers, and a conversion to RGB
then makes white of everything from 255 on. Here grey is brought to 8 bits as Pillow brings colour.
"""

import numpy as np
from PIL import Image

from clip_core.errors import ImageError
from clip_core.image.inputs import Pixels

_SIXTEEN_BITS = 65535


def to_eight_bits(image: Image.Image) -> Image.Image:
    """A picture of mode I;16, I or F in mode L; any other as it is.

    White is 65535 in mode I;16. The modes I and F do not say what white is: 255 if no value is larger, else 65535.

    Raises:
        ImageError: the values fit neither, or could be either.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
        return image
    values = np.asarray(image)
    if image.mode in ("I", "F") and _white(values, image.mode) == 255:
        return image.convert("L")
    return Image.fromarray((values.astype(np.uint16) >> 8).astype(np.uint8))


def _white(values: Pixels, mode: str) -> int:
    """255 or 65535, whichever these values can be of.

    Just above 255 they could be of 8 bits, overshot by a sharp resize, or of an all but black picture of 16; floats up
    to 1 could be fractions.
    """
    low, high = values.min(), values.max()
    fractions = mode == "F" and 0 < high <= 1
    if low >= 0 and high <= 255 and not fractions:
        return 255
    if low >= 0 and 512 <= high <= _SIXTEEN_BITS:
        return _SIXTEEN_BITS
    raise ImageError(
        f"expected grey values from 0 to 255 or to {_SIXTEEN_BITS}, got {low:.6g} to {high:.6g} in mode {mode!r}, "
        "whose black and white are not known. Scale them to 0 to 255 and convert the picture to mode 'L'"
    )
