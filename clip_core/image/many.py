"""Many images in threads, into one batch."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol

import numpy as np
from PIL import Image

from clip_core.image.inputs import Pixels
from clip_core.threads import usable_cores


class Prepare(Protocol):
    """Makes pixel values of the image of a name, in a place if they fit there."""

    def __call__(self, name: str, place: Pixels | None = None) -> Pixels: ...


def prepare_all(
    named_images: Mapping[str, Image.Image | Pixels], prepare: Prepare, *, as_batch: bool
) -> Pixels | list[Pixels]:
    """The pixel values of every image, in order; ``as_batch`` as one array, if all have the shape of the first.

    Raises what the first image raises that cannot be prepared.
    """
    names = list(named_images)
    first = prepare(names[0])
    others = names[1:]
    batch = np.empty((len(names), *first.shape), first.dtype) if as_batch else None
    places = [None] * len(others) if batch is None else list(batch[1:])
    prepared = [first, *in_threads(list(named_images.values()), prepare, others, places)]
    if batch is None or any(
        pixels is not place for pixels, place in zip(islice(prepared, 1, None), places, strict=True)
    ):
        return prepared
    batch[0] = first
    return batch


def in_threads(images: Sequence[object], function: Callable[..., Pixels], *arguments: Sequence[Any]) -> list[Pixels]:
    """``list(map(function, *arguments))`` in threads, if the images that it reads can be read at the same time."""
    workers = min(len(arguments[0]), usable_cores())
    if workers <= 1 or not are_independent(images):
        return list(map(function, *arguments))
    with ThreadPoolExecutor(workers) as pool:
        try:
            found = pool.map(function, *arguments)
        except RuntimeError:  # no more threads, as in one that goes on after the main thread
            pool.shutdown(cancel_futures=True)
            return list(map(function, *arguments))
        return list(found)


def are_independent(images: Sequence[object]) -> bool:
    """Whether no two are one picture, or pictures that read from one file, since they are decoded when first used.

    Only of files on a disk or in memory is that known: members of an archive look like files of their own, and move
    the archive's place.
    """
    pictures = [(image, getattr(image, "fp", None)) for image in images if isinstance(image, Image.Image)]
    sources = {id(file or image) for image, file in pictures}
    return len(sources) == len(pictures) and all(file is None or _is_its_own(file) for _, file in pictures)


def _is_its_own(file: object) -> bool:
    return type(file) is io.BytesIO or (type(file) is io.BufferedReader and type(file.raw) is io.FileIO)
