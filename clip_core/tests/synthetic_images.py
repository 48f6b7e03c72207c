"""Images made by integer arithmetic: the same on every machine, with enough detail that a shift or a blur shows."""

import numpy as np
from PIL import Image

WIDE_GREY = ["I", "I;16", "I;16L", "I;16B", "I;16N"]
"""Modes whose synthetic image has 16 bits, which transformers cuts off at 255: the same grey as that of mode L."""

MODES = [  # every mode that Pillow converts to RGB
    *["RGB", "L", "1", "P", "P+transparency", "PA", "LA", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV", "LAB", "F"],
    *WIDE_GREY,
]


def synthetic_array(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Pixels of all values from 0 to 255, `[height, width, channel]`, uint8."""
    y, x, c = np.ogrid[:height, :width, :channels]
    return ((y * y * 3 + x * y * 7 + x * 13 + (c + 1) * (x + 2 * y + 31 * seed)) % 256).astype(np.uint8)


def synthetic_image(mode: str, height: int, width: int, seed: int = 0) -> Image.Image:
    """A Pillow image of one of `MODES`; "P+transparency" is a palette image with a transparent colour."""
    plane = synthetic_array(height, width, 1, seed)[..., 0]
    if mode in ("P", "P+transparency", "PA"):
        image = Image.fromarray(plane).convert("P")
        image.putpalette(synthetic_array(256, 1, 3, seed + 1).tobytes())
        if mode == "P+transparency":
            image.info["transparency"] = 17
        return image.convert("PA") if mode == "PA" else image
    if mode == "1":
        return Image.fromarray(plane).convert("1", dither=Image.Dither.NONE)
    if mode == "F":
        return Image.fromarray(plane.astype(np.float32) * np.float32(0.75) + 40)
    if mode == "I":
        return Image.fromarray(plane.astype(np.int32) * 257)
    if mode.startswith("I;16"):
        wide = plane.astype(np.uint16) * 257
        return Image.frombytes(mode, (width, height), wide.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    channels = {"L": 1, "LA": 2, "RGB": 3, "YCbCr": 3, "HSV": 3, "LAB": 3}.get(mode, 4)
    return Image.frombytes(mode, (width, height), synthetic_array(height, width, channels, seed).tobytes())
