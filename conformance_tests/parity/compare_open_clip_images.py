"""Is the image processor open_clip's transform, bit for bit, for every checkpoint that open_clip knows?

    PYTHONPATH=. ENV/bin/python -m conformance_tests.parity.compare_open_clip_images

``ENV`` has open_clip_torch. Takes each distinct preprocessing of its pretrained models with each image size that it is
used with, and the ways to resize that none of them uses, and runs both transforms on 200 pictures of all modes, from
one pixel to strips of 1 to 65. Ends with exit code 1 if a single picture differs.

Pictures of 16 bits and of floats are given to open_clip as the same grey in 8 bits: it cuts them off at 255, which
Triclip does not do (docs/differences.md).
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module, metadata
from itertools import islice
from typing import Any

import click
import numpy as np
from PIL import Image

from clip_core.commands import echo
from clip_core.image.open_clip import from_open_clip
from clip_core.tests.synthetic_images import MODES, WIDE_GREY, synthetic_image

COUNT = 200
_KEYS = ("mean", "std", "interpolation", "resize_mode", "fill_color")
SIZES = [  # [height, width]; 29 of them and 37 modes share no divisor, so that they meet in all combinations
    *[(1, 1), (1, 2), (2, 1), (1, 60), (60, 1), (2, 3), (3, 50), (50, 3), (5, 7), (31, 17), (97, 41), (53, 80)],
    *[(223, 225), (225, 223), (224, 224), (224, 500), (500, 224), (427, 640), (640, 427), (334, 500), (2, 131)],
    *[(601, 600), (600, 601), (768, 1024), (375, 500), (333, 499), (480, 640), (900, 300), (150, 3)],
]
_MODES = [mode for mode in MODES for _ in range({"RGB": 13, "L": 4, "RGBA": 3}.get(mode, 1))]
UNUSED = [  # by a pretrained model of open_clip 3.3, and of its transform all the same
    {"resize_mode": "longest"},
    {"resize_mode": "longest", "interpolation": "bilinear", "fill_color": 127},
    {"resize_mode": "longest", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.1), "fill_color": 255},
    {"resize_mode": "squash", "interpolation": "bilinear", "mean": 0.5, "std": 0.25},
]


def pictures() -> Iterator[tuple[str, Image.Image, Image.Image]]:
    """What it is called, the picture, and the one that open_clip is given for it."""
    for number in range(COUNT):
        mode, (height, width) = _MODES[number * 11 % len(_MODES)], SIZES[number % len(SIZES)]
        picture = synthetic_image(mode, height, width, seed=number)
        theirs = synthetic_image("L", height, width, seed=number) if mode in WIDE_GREY else picture
        yield f"{mode} {height}x{width}", picture, picture.convert("L") if mode == "F" else theirs


def preprocessings() -> dict[tuple[Any, ...], list[str]]:
    """Every preprocessing of a pretrained model, with its image size, and the models that have it."""
    open_clip = import_module("open_clip")
    found: dict[tuple[Any, ...], list[str]] = {}
    for model, tag in open_clip.list_pretrained():
        cfg = open_clip.get_pretrained_cfg(model, tag)
        size = (open_clip.get_model_config(model) or {}).get("vision_cfg", {}).get("image_size", 224)
        key = tuple(cfg.get(name) for name in _KEYS)
        found.setdefault((size, *key), []).append(f"{model}/{tag}")
    for cfg in UNUSED:
        found[(224, *(cfg.get(name) for name in _KEYS))] = []
    return found


def transforms(key: tuple[Any, ...]) -> tuple[Any, Any]:
    """open_clip's transform and our processor."""
    image_transform = import_module("open_clip.transform").image_transform
    size, cfg = key[0], dict(zip(_KEYS, key[1:], strict=True))
    given = {name: value for name, value in cfg.items() if value is not None}
    return image_transform(size, is_train=False, **given), from_open_clip(cfg, size)


def same(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether both are of one shape and dtype and have the same bytes."""
    return (first.shape, first.dtype, first.tobytes()) == (second.shape, second.dtype, second.tobytes())


@click.command()
@click.option("--only", type=int, help="Compare this many preprocessings, to try the script.")
def main(only: int | None) -> None:
    """Compare, and print a line for each preprocessing and for each picture that differs."""
    differing, models = 0, 0
    modes: Counter[str] = Counter()
    found = preprocessings()
    for key, names in islice(found.items(), only):
        transform, processor = transforms(key)
        wrong = []
        for name, picture, given in pictures():
            modes[name.split()[0]] += 1
            if not same(np.asarray(transform(given)), processor(picture)["pixel_values"][0]):
                wrong.append(name)
        models, differing = models + len(names), differing + len(wrong)
        shown = " ".join(f"{name}={value}" for name, value in zip(("size", *_KEYS), key, strict=True))
        of = f"{names[0]} and {len(names) - 1} more" if names else "no pretrained model"
        echo(f"{shown} ({of}): {COUNT} pictures, {len(wrong)} differ {wrong[:9] or ''}")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("open_clip_torch", "torchvision", "pillow"))
    echo(f"{versions}: {len(found)} preprocessings of {models} pretrained models, {sum(modes.values())} pictures")
    echo(f"of modes {', '.join(f'{name} {count}' for name, count in sorted(modes.items()))}")
    echo(f"{differing} differ")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
