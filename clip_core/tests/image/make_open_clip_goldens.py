"""Remake `open_clip_goldens.json`, in an environment with open_clip_torch:

    PYTHONPATH=. ENV/bin/python -m clip_core.tests.image.make_open_clip_goldens

Each golden is the SHA-256 of the float32 pixels that open_clip's transform makes of one synthetic image; of the same
grey in 8 bits where the image has 16 or floats, which open_clip cuts off.
`conformance_tests.parity.compare_open_clip_images` compares every preprocessing of open_clip's models.
"""

import hashlib
import json
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clip_core.checkpoint.files import read_json, write_text_atomically
from clip_core.tests.synthetic_images import MODES, WIDE_GREY, synthetic_image

PATH = Path(__file__).with_name("open_clip_goldens.json")
SIZE = 32
HALF = (0.5, 0.5, 0.5)
CONFIGS: dict[str, dict[str, Any]] = {
    "shortest": {},
    "shortest, bilinear": {"interpolation": "bilinear", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    "squash": {"resize_mode": "squash", "mean": HALF, "std": HALF},
    "squash, bilinear": {
        "resize_mode": "squash",
        "interpolation": "bilinear",
        "mean": (0.485, 0.456, 0.406),
        "std": (0.229, 0.224, 0.225),
    },
    "longest": {"resize_mode": "longest"},
    "longest, filled": {"resize_mode": "longest", "interpolation": "bilinear", "fill_color": 127},
}
SIZES = [(1, 1), (41, 97), (80, 53), (67, 45), (31, 9)]  # [height, width]
IMAGES = [*((mode, 53, 40) for mode in MODES), *(("RGB", *size) for size in SIZES)]


def golden_names() -> list[tuple[str, str, int, int]]:
    """Configuration, mode, height and width of every golden."""
    return [(config, *image) for config in CONFIGS for image in IMAGES]


def read_goldens() -> dict[str, str]:
    """The hash under each "configuration mode heightxwidth"."""
    return read_json(PATH)["sha256"]


def hash_of(pixels: np.ndarray) -> str:
    """The hash of `[channel, height, width]`, float32."""
    if (pixels.dtype, pixels.shape) != (np.dtype(np.float32), (3, SIZE, SIZE)):
        raise TypeError(f"expected float32 [3, {SIZE}, {SIZE}], got {pixels.dtype} {pixels.shape}")
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def in_eight_bits(mode: str, height: int, width: int) -> Image.Image:
    """The image, with at most 8 bits per channel."""
    image = synthetic_image("L" if mode in WIDE_GREY else mode, height, width)
    return image.convert("L") if mode == "F" else image


def main() -> None:
    """Write the goldens, with the versions that they were made with."""
    image_transform = import_module("open_clip.transform").image_transform
    transforms = {name: image_transform(SIZE, is_train=False, **cfg) for name, cfg in CONFIGS.items()}
    hashes = {
        f"{name} {mode} {h}x{w}": hash_of(np.asarray(transforms[name](in_eight_bits(mode, h, w))))
        for name, mode, h, w in golden_names()
    }
    versions = {name: metadata.version(name) for name in ("open_clip_torch", "torchvision", "pillow", "numpy")}
    write_text_atomically(PATH, json.dumps({"made_with": versions, "sha256": hashes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
