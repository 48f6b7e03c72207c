"""From what was typed to picture files, and from files to pixels, a few at a time."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from clip_core.errors import InputError
from clip_core.threads import map_ahead

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels = NDArray[np.float32]
    ReadFunction = Callable[[str], Pixels]

EXTENSIONS = frozenset(
    [
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".ppm",
        ".tga",
        ".tif",
        ".tiff",
        ".webp",
    ]
)
"""What a file in a folder must end in to be taken for a picture; one that is named itself is always tried."""

NEED_CONVERSION = frozenset(
    [".arw", ".cr2", ".cr3", ".dng", ".heic", ".heif", ".jxl", ".nef", ".orf", ".raf", ".rw2", ".svg"]
)
"""Endings of pictures that Pillow has no decoder for."""


@dataclass(frozen=True)
class ImageFile:
    """One picture to read, or what was named and leads to none.

    Attributes:
        path: as it was typed, or below the folder that was typed.
        problem: why there is nothing to read.
    """

    path: str
    problem: str | None = None


@dataclass(frozen=True)
class Picture:
    """A picture that was read, or what is wrong with it.

    Attributes:
        path: as in `ImageFile`.
        pixels: ``[channel, height, width]``, as the model takes them; ``None`` if there is a problem.
        problem: a message that names the file.
    """

    path: str
    pixels: Pixels | None = None
    problem: str | None = None


class FoundImages(NamedTuple):
    """What names lead to.

    Attributes:
        files: pictures to read, and names that lead to none.
        skipped: how many files of the folders were left out, by their endings.
    """

    files: list[ImageFile]
    skipped: Counter[str]


def find_images(names: Iterable[str]) -> FoundImages:
    """The pictures that files, folders and glob patterns name.

    A folder stands for the pictures in it at any depth, by `EXTENSIONS`, hidden ones left out; a pattern for what a
    shell would put in its place (and ``**`` for any depth). What a folder or pattern leads to is sorted; a file that is
    named twice comes once, at its first place.
    """
    found: dict[str, ImageFile] = {}
    skipped: dict[str, str] = {}
    for name in names:
        for file in _files_of(name, skipped):
            found.setdefault(os.path.abspath(file.path), file)
    return FoundImages(list(found.values()), Counter(kind for path, kind in skipped.items() if path not in found))


def _files_of(name: str, skipped: dict[str, str]) -> Iterator[ImageFile]:
    """The pictures that a name leads to; ``skipped`` gets the ending of each file that is left out, by its path."""
    if os.path.isdir(name):
        yield from _files_below(name, skipped)
    elif glob.has_magic(name) and not os.path.exists(name):
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            yield ImageFile(name, "no file matches this pattern")
        for match in matches:
            yield from _files_below(match, skipped) if os.path.isdir(match) else [ImageFile(match)]
    else:
        yield ImageFile(name)


def _files_below(folder: str, skipped: dict[str, str]) -> Iterator[ImageFile]:
    problems: list[ImageFile] = []

    def note(error: OSError) -> None:
        problems.append(ImageFile(str(error.filename), f"this folder cannot be read ({error.strerror})"))

    paths = []
    for parent, folders, files in os.walk(folder, onerror=note):
        folders.sort()  # os.walk visits what is left in this list
        for file in files:
            kind = os.path.splitext(file)[1].lower()
            if file.startswith("."):
                continue
            if kind in EXTENSIONS:
                paths.append(os.path.join(parent, file))
            else:
                skipped[os.path.abspath(os.path.join(parent, file))] = kind or "without an ending"
    if not paths and not problems:
        yield ImageFile(folder, f"no picture in this folder; looked for {' '.join(sorted(EXTENSIONS))}")
    yield from map(ImageFile, sorted(paths))
    yield from problems


@contextmanager
def read_ahead(files: Iterable[ImageFile], read: ReadFunction, limit: int) -> Iterator[Iterator[Picture]]:
    """Reads files in threads from now on, at most ``limit`` ahead of the consumer, and gives them in order.

    Only what ``read`` returns is kept, so that memory holds ``limit`` prepared pictures and one decoded per thread.
    """
    with closing(map_ahead(partial(_read, read), files, limit)) as pictures:
        first = list(islice(pictures, 1))  # with which the next ones are begun
        yield chain(first, pictures)


def _read(read: ReadFunction, file: ImageFile) -> Picture:
    if file.problem is not None:
        return Picture(file.path, problem=f"{file.path}: {file.problem}")
    try:
        return Picture(file.path, read(file.path))
    except InputError as error:
        message = str(error)
        return Picture(file.path, problem=message if file.path in message else f"{file.path}: {message}")


def batches(pictures: Iterable[Picture], size: int) -> Iterator[list[Picture]]:
    """Pictures in batches that each hold ``size`` readable ones, the last perhaps fewer, and the others between them.

    Compiled models are compiled anew for each number of pictures, so that number changes once at most.
    """
    batch: list[Picture] = []
    readable = 0
    for picture in pictures:
        batch.append(picture)
        readable += picture.pixels is not None
        if readable == size:
            yield batch
            batch, readable = [], 0
    if batch:
        yield batch
