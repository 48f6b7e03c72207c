"""Remake `image_goldens.json` with transformers: python -m clip_core.tests.image.make_image_goldens

Each golden is the SHA-256 of the float32 `pixel_values` that transformers 4.57.6 makes of one synthetic image; of the
same grey in 8 bits where the image has 16, which transformers cuts off.
"""

import hashlib
import json
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from clip_core.checkpoint.files import read_json, write_text_atomically
from clip_core.tests.synthetic_images import MODES, WIDE_GREY, synthetic_image

PATH = Path(__file__).with_name("image_goldens.json")
SIZES = [(1, 1), (2, 61), (224, 224), (427, 640), (334, 500), (61, 2), (301, 226)]  # [height, width]
IMAGES = [*((mode, 53, 40) for mode in MODES), *((mode, *size) for mode in ("RGB", "LA") for size in SIZES)]
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    # Sizes at which Pillow 13 resizes the width before the height, as older ones always do.
    "bilinear, squashed": {"resample": 2, "size": {"height": 90, "width": 40}, "crop_size": 40},
    "padded": {"size": 41, "crop_size": {"height": 60, "width": 63}, "image_mean": [0.5, 0.4, 0.3], "image_std": 0.2},
}


def golden_names() -> list[tuple[str, str, int, int]]:
    """Settings, mode, height and width of every golden."""
    return [(settings, *image) for settings in SETTINGS for image in IMAGES]


def read_goldens() -> dict[str, str]:
    """The hash under each "settings mode heightxwidth"."""
    return read_json(PATH)["sha256"]


def golden_of(processor: Any, settings: str, mode: str, height: int, width: int) -> str:
    """The hash of what `processor`, a class, makes of one image. Neither library may guess its layout."""
    image = synthetic_image(mode, height, width)
    batch = processor(**SETTINGS[settings])(image, return_tensors="np", input_data_format="channels_last")
    pixel_values = np.ascontiguousarray(batch["pixel_values"])
    if pixel_values.dtype != np.float32:
        raise TypeError(f"expected float32 pixel_values, got {pixel_values.dtype}")
    return hashlib.sha256(pixel_values.tobytes()).hexdigest()


def main() -> None:
    """Write the goldens, with the versions that they were made with."""
    upstream = import_module("transformers.models.clip.image_processing_clip").CLIPImageProcessor
    hashes = {
        f"{s} {mode} {h}x{w}": golden_of(upstream, s, "L" if mode in WIDE_GREY else mode, h, w)
        for s, mode, h, w in golden_names()
    }
    versions = {name: metadata.version(name) for name in ("transformers", "pillow", "numpy")}
    write_text_atomically(PATH, json.dumps({"made_with": versions, "sha256": hashes}, indent=1) + "\n")


if __name__ == "__main__":
    main()
