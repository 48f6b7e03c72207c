"""Preprocessing: 64 pictures of 640x480 to pixel values, from Pillow images and from JPEG files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.row import Case, Row, Side


def _side(folder: Path, case: Case, process: Callable[[list[Any]], Any]) -> Callable[[], Any]:
    """From pictures that are decoded already, or opened and decoded in each call."""
    from PIL import Image

    files = sorted((folder / "pictures").glob("*.jpg"))
    if case["from"] == "JPEG files":
        return lambda: process([Image.open(file) for file in files])
    decoded = [Image.open(file).convert("RGB") for file in files]
    return lambda: process(decoded)


def transformers(folder: Path, case: Case) -> Any:
    import transformers as library

    processor = library.CLIPImageProcessor.from_pretrained(folder / "hf")
    return _side(folder, case, lambda pictures: processor(pictures, return_tensors="np")["pixel_values"])


def transformers_fast(folder: Path, case: Case) -> Any:
    """Through torchvision, which resizes otherwise: not bit-equal."""
    import transformers as library

    processor = library.CLIPImageProcessorFast.from_pretrained(folder / "hf")
    return _side(folder, case, lambda pictures: processor(pictures, return_tensors="pt")["pixel_values"].numpy())


def open_clip(folder: Path, case: Case) -> Any:
    """Its transform, picture by picture, as its documentation has it."""
    import torch
    from open_clip import image_transform

    transform = image_transform(224, is_train=False)
    return _side(folder, case, lambda pictures: torch.stack([transform(picture) for picture in pictures]).numpy())


def triclip(folder: Path, case: Case) -> Any:
    from clip_core import CLIPImageProcessor

    processor = CLIPImageProcessor.from_pretrained(folder / "hf")
    return _side(folder, case, lambda pictures: processor(pictures, return_tensors="np")["pixel_values"])


def limit(folder: Path, case: Case) -> Any:
    """Pillow's resizing alone, after decoding where there are files."""
    return _side(folder, case, _resize)


def _resize(pictures: list[Any]) -> None:
    for picture in pictures:
        scale = 224 / min(picture.size)
        picture.convert("RGB").resize((round(picture.width * scale), round(picture.height * scale)), 3)


ROW = Row(
    name="preprocess",
    title="Preprocessing 64 pictures of 640x480",
    cases=[{"from": "decoded"}, {"from": "JPEG files"}],
    sides={
        "transformers": Side(function="transformers"),
        "transformers fast (torchvision)": Side(function="transformers_fast", within=0.1),
        "open_clip": Side(function="open_clip", within=1e-5),
        "triclip": Side(function="triclip"),
        "limit: Pillow's resizing": Side(function="limit"),
    },
    materials=("hf", "pictures"),
    within=0,
)
