"""What an encoder takes: one or a list, of images, texts or vectors."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clip_core.errors import InputError, InputTypeError

ImageInput = str | PathLike[str] | Image.Image | NDArray[Any]
"""A file, a Pillow image, or an array as `CLIPImageProcessor` takes it, such as uint8 ``[height, width, channel]``."""


def listed_images(images: ImageInput | Sequence[ImageInput]) -> list[ImageInput]:
    """A list of images, of which a single one is one and a 4-D array several.

    Raises:
        InputError: the list is empty.
        InputTypeError: neither an image nor a list.
    """
    if isinstance(images, list | tuple) or (isinstance(images, np.ndarray) and images.ndim == 4):
        listed = list(images)
    else:
        listed = [images]
    if not listed:
        raise InputError("images: expected at least one, got an empty list.")
    return listed


def listed_texts(texts: str | Sequence[str], name: str) -> list[str]:
    """A list of texts, of which a string is one.

    Raises:
        InputError: the list is empty.
        InputTypeError: neither a string nor a list of them.
    """
    listed: list[Any] = list(texts) if isinstance(texts, list | tuple) else [texts]
    odd = [text for text in listed if not isinstance(text, str)]
    if odd:
        raise InputTypeError(f"{name}: expected a string or a list of strings, got {odd[0]!r:.60}.")
    if not listed:
        raise InputError(f"{name}: expected at least one, got an empty list.")
    return listed


def is_vectors(value: object) -> bool:
    """Whether this is ``[embed]`` or ``[batch, embed]``, which no image is."""
    return isinstance(value, np.ndarray) and value.ndim <= 2 and np.issubdtype(value.dtype, np.floating)


def parts(count: int, size: int) -> list[slice]:
    """Of so many items, ``size`` at a time.

    Raises:
        InputError: ``size`` is below 1.
    """
    if size < 1:
        raise InputError(f"batch_size: expected 1 or more, got {size}.")
    return [slice(start, start + size) for start in range(0, count, size)]
