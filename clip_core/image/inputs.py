"""What counts as an image, and how it becomes a Pillow image or a NumPy array.

An image is a Pillow image of any mode, or a NumPy, PyTorch, TensorFlow or JAX array of shape `[height, width, channel]`
or `[channel, height, width]`; a batch is a 4-D array, a list or tuple of images, or any nesting of these.
Tensors are recognised without importing a framework: one that nobody has imported cannot have made the tensor.
"""

import os
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from clip_core.backends import BACKENDS
from clip_core.errors import CLIPError, ImageError, InputError, InputTypeError

Pixels: TypeAlias = np.ndarray
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error)
"""What Pillow's decoders raise on broken data."""
CHANNEL_COUNTS = (1, 3)  # what an axis may hold to be taken for the channel axis, as in transformers 4


class ChannelDimension(StrEnum):
    """Where the channel axis of an image array is."""

    FIRST = "channels_first"  # [channel, height, width]
    LAST = "channels_last"  # [height, width, channel]

    @classmethod
    def parse(cls, value: Any, argument: str) -> "ChannelDimension":
        """The member that `value` (a member of this or of transformers' enumeration, or its string) stands for."""
        text = getattr(value, "value", value)
        if text not in ("channels_first", "channels_last"):
            raise InputError(f"{argument}: expected 'channels_first' or 'channels_last', got {value!r}")
        return cls(text)


def flatten_images(images: Any) -> dict[str, Image.Image | Pixels]:
    """Every single image in `images`, in order, under a name such as `images[2]` for error messages.

    Raises `InputTypeError` for what is no image, `InputError` for an array that is not 3-D or 4-D, for an image
    without pixels and for an empty list.
    """
    flat = dict(_named_images(images, "images"))
    if not flat:
        raise InputError("images: expected at least one image, got an empty list")
    return flat


def is_image(candidate: object) -> bool:
    """Whether `candidate` is a Pillow image or an array of a known framework."""
    return isinstance(candidate, Image.Image | np.ndarray) or _framework_of(candidate) is not None


@contextmanager
def errors_naming(name: str) -> Iterator[None]:
    """Put the name of the image in front of whatever is wrong with it."""
    try:
        yield
    except (InputError, InputTypeError) as error:
        raise type(error)(f"{name}: {error}") from error.__cause__


@contextmanager
def errors_of_pillow(image: Image.Image) -> Iterator[None]:
    """Turn whatever Pillow raises on an image that it cannot decode, convert or resize into `ImageError`."""
    try:
        yield
    except CLIPError:
        raise
    except PILLOW_ERRORS as error:
        raise ImageError(f"Pillow cannot decode or convert this {image.mode} image ({error})") from error


def image_to_array(image: Image.Image) -> Pixels:
    """The pixels of a Pillow image, `[height, width, channel]`.

    Raises `ImageError` for a mode that has no channel axis.
    """
    pixels = np.array(image)
    if pixels.ndim != 3:
        raise ImageError(f"expected several channels, got mode {image.mode!r}. Leave do_convert_rgb on")
    return pixels


def infer_layout(arrays: dict[str, Pixels]) -> ChannelDimension:
    """The one channel layout that fits all arrays.

    Raises `InputError` if none fits, if they disagree, or if all of them can be read both ways.
    """
    readings = {name: _possible_layouts(array) for name, array in arrays.items()}
    for name, layouts in readings.items():
        if not layouts:
            raise InputError(
                f"{name}: expected 1 or 3 channels in the first or last axis, got shape {arrays[name].shape}. "
                "Pass input_data_format='channels_first' or 'channels_last' for another number of channels"
            )
    common = set(ChannelDimension).intersection(*readings.values())
    if not common:
        raise InputError("images: some arrays have their channels first, others last. Bring all to one layout")
    if len(common) == 2:
        name, array = next(iter(arrays.items()))
        raise InputError(
            f"{name}: shape {array.shape} can be read with its channels first or last. "
            "Pass input_data_format='channels_first' or 'channels_last'"
        )
    return common.pop()


def check_pixels(pixels: Pixels, *, about_to_rescale: bool) -> None:
    """Refuse pixel values that no image can have.

    Raises `InputTypeError` for a dtype that is neither integer nor floating, `InputError` for NaN and infinity, and
    for values already in [0, 1] that are about to be divided by 255 again (all black is the same either way).
    """
    if np.issubdtype(pixels.dtype, np.integer):
        return
    if not _is_floating(pixels.dtype):
        raise InputTypeError(f"expected integer or floating-point pixels, got dtype {pixels.dtype}")
    low, high = pixels.min(), pixels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("expected finite pixel values, got NaN or infinity")
    if about_to_rescale and low >= 0 and 0 < high <= 1:
        raise InputError(
            f"expected pixel values from 0 to 255, got {pixels.dtype} values from {low:.3g} to {high:.3g}, which "
            "look rescaled already. Pass do_rescale=False, or multiply by 255"
        )


def _named_images(images: Any, name: str) -> Iterable[tuple[str, Image.Image | Pixels]]:
    if isinstance(images, list | tuple):
        for index, item in enumerate(images):
            yield from _named_images(item, f"{name}[{index}]")
        return
    if isinstance(images, Image.Image):
        if 0 in images.size:
            raise ImageError(f"{name}: expected at least one pixel, got width x height = {images.size}")
        yield name, images
        return
    array = _to_numpy(images, name)
    if array.ndim not in (3, 4):
        raise InputError(
            f"{name}: expected [height, width, channel], [channel, height, width] or a 4-D batch of these, got shape "
            f"{array.shape}. Give a greyscale image as a Pillow image, or stack it to 3 channels"
        )
    if array.size == 0:
        raise ImageError(f"{name}: expected at least one pixel, got shape {array.shape}")
    yield from [(name, array)] if array.ndim == 3 else ((f"{name}[{i}]", item) for i, item in enumerate(array))


def _to_numpy(candidate: Any, name: str) -> Pixels:
    if isinstance(candidate, np.ndarray):
        return candidate
    framework = _framework_of(candidate)
    if framework is None:
        hint = " Open a file with clip_core.load_image" if isinstance(candidate, str | os.PathLike) else ""
        raise InputTypeError(
            f"{name}: expected a Pillow image, or a NumPy, PyTorch, TensorFlow or JAX array, "
            f"got {type(candidate).__name__}.{hint}"
        )
    try:
        return np.asarray(candidate.detach().cpu() if framework == "torch" else candidate)
    except (TypeError, NotImplementedError, AttributeError) as error:
        reason = str(error).partition("\n")[0]
        raise InputTypeError(
            f"{name}: expected a {framework} array with values and with a dtype that NumPy has, got one that cannot "
            f"be read ({reason}). Call this outside of compiled functions, and convert bfloat16 to float32"
        ) from error


def _framework_of(candidate: object) -> str | None:
    for backend in BACKENDS.values():
        module = sys.modules.get(backend.modules[0])
        tensor_class = getattr(module, backend.tensor_class, None) if backend.tensor_class else None
        if tensor_class is not None and isinstance(candidate, tensor_class):
            return backend.modules[0]
    return None


def _possible_layouts(array: Pixels) -> set[ChannelDimension]:
    ends = {ChannelDimension.FIRST: array.shape[0], ChannelDimension.LAST: array.shape[-1]}
    return {layout for layout, count in ends.items() if count in CHANNEL_COUNTS}


def _is_floating(dtype: np.dtype) -> bool:
    # bfloat16 and its kin from ml_dtypes are no subtypes of np.floating.
    return np.issubdtype(dtype, np.floating) or dtype.name.startswith(("bfloat", "float"))
