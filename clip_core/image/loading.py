"""From an image file to a Pillow image: decoded, turned upright, of 8 bits per channel."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from clip_core.errors import ImageError
from clip_core.image.depth import to_eight_bits
from clip_core.image.inputs import PILLOW_ERRORS, errors_naming
from clip_core.regular_files import open_regular

_ORIENTATION = 0x0112
_UPRIGHT = {  # by the number of the orientation; 1 is upright already (EXIF 2.32, section 4.6.4 A)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAYING_THE_ORIENTATION = ("exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif")
_NEEDS_A_PLUGIN = (".heic", ".heif", ".jxl")


def load_image(path: str | os.PathLike[str], *, apply_exif_rotation: bool = True) -> Image.Image:
    """Open an image file and decode it completely.

    Args:
        path: of a regular file.
        apply_exif_rotation: whether to turn the picture as its EXIF orientation says, as cameras mean it and
            transformers' `load_image` does. CLIP's training data were not turned.

    Returns:
        The picture, in the mode that the file has; grey of more than 8 bits in mode L (`to_eight_bits`).

    Raises `ImageError`, which names the file, if it is missing, no regular file, not an image, truncated, larger than
    Pillow's limit against decompression bombs (twice `PIL.Image.MAX_IMAGE_PIXELS`), or a program (EPS).
    """
    name = os.fspath(path)
    with _decoding_errors(name), _opened(path) as file, Image.open(file) as image:
        if image.format == "EPS":
            raise ImageError(f"{name}: an EPS file, which Pillow has Ghostscript run. Convert it to PNG")
        image.load()
        upright = _upright(image) if apply_exif_rotation else image
    with errors_naming(name):
        return to_eight_bits(upright)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    try:
        file = open_regular(path)
    except FileNotFoundError as error:
        raise ImageError(f"{os.fspath(path)}: no such file") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        problem = getattr(error, "strerror", None) or error
        raise ImageError(f"{os.fspath(path)}: cannot be opened: {problem}") from error
    with file:
        yield file


@contextmanager
def _decoding_errors(name: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        hint = " without a plugin. Convert it to JPEG or PNG" if name.lower().endswith(_NEEDS_A_PLUGIN) else ""
        raise ImageError(f"{name}: not an image in a format that Pillow can read{hint}") from error
    except Image.DecompressionBombError as error:
        problem = str(error).rstrip(".")
        raise ImageError(f"{name}: {problem}. If the file is trustworthy, raise PIL.Image.MAX_IMAGE_PIXELS") from error
    except PILLOW_ERRORS as error:
        raise ImageError(f"{name}: cannot be read or decoded, it may be truncated or corrupt ({error})") from error


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as its EXIF orientation says, which is then left out of what it says about itself.

    `PIL.ImageOps.exif_transpose` also writes the other EXIF entries anew, and fails where one of them is damaged.
    """
    try:
        method = _UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # of many kinds, where EXIF is damaged; such a picture is shown as it is everywhere
        method = None
    if method is None:
        return image
    turned = image.transpose(method)
    for name in _SAYING_THE_ORIENTATION:
        turned.info.pop(name, None)
    return turned
