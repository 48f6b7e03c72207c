"""Pictures, texts and options that the processor, its image processor and its tokenizer cannot take."""

from __future__ import annotations

from unittest import mock

import numpy as np
from PIL import Image

from clip_core import CLIPImageProcessor, CLIPProcessor, CLIPTokenizer
from clip_core.backends import choose_backend
from clip_core.errors import ConfigError, ImageError, InputError, InputTypeError, MissingExtraError
from clip_core.image.loading import load_image
from conformance_tests.bad_input.case import Bench, case


@case("a picture that is not there", ImageError, "gone.png", "no such file")
def _(bench: Bench) -> None:
    load_image(bench.directory / "gone.png")


@case("a truncated picture", ImageError, "picture.png: cannot be read or decoded", "truncated or corrupt")
def _(bench: Bench) -> None:
    path = bench.directory / "picture.png"
    path.write_bytes(path.read_bytes()[:500])
    load_image(path)


@case("a file that is no picture", ImageError, "config.json: not an image in a format that Pillow can read")
def _(bench: Bench) -> None:
    load_image(bench.directory / "config.json")


@case("a decompression bomb", ImageError, "picture.png", "exceeds limit", "raise PIL.Image.MAX_IMAGE_PIXELS")
def _(bench: Bench) -> None:
    with mock.patch.object(Image, "MAX_IMAGE_PIXELS", 100):
        load_image(bench.directory / "picture.png")


@case(
    "a path instead of an image",
    InputTypeError,
    "expected a Pillow image, or a NumPy",
    "got str",
    "Open a file with clip_core.load_image",
)
def _(bench: Bench) -> None:
    CLIPImageProcessor()(str(bench.directory / "picture.png"))


@case(
    "pixels in [0, 1] that would be divided by 255 again",
    InputError,
    "expected pixel values from 0 to 255",
    "got float32 values from 0 to 1",
    "Pass do_rescale=False, or multiply by 255",
)
def _(bench: Bench) -> None:
    CLIPImageProcessor()(np.linspace(0, 1, 24 * 30 * 3, dtype=np.float32).reshape(24, 30, 3))


@case("pixels that are not finite", InputError, "expected finite pixel values", "got NaN or infinity")
def _(bench: Bench) -> None:
    CLIPImageProcessor()(np.full((24, 30, 3), np.nan))


@case("pixels that are truth values", InputTypeError, "expected integer or floating-point pixels", "got dtype bool")
def _(bench: Bench) -> None:
    CLIPImageProcessor()(np.zeros((24, 30, 3), bool))


@case(
    "an array without channels",
    InputError,
    "expected [height, width, channel]",
    "got shape (24, 30)",
    "stack it to 3 channels",
)
def _(bench: Bench) -> None:
    CLIPImageProcessor()(np.zeros((24, 30), np.uint8))


@case(
    "an array of five channels",
    InputError,
    "expected 1 or 3 channels",
    "got shape (24, 30, 5)",
    "Pass input_data_format=",
)
def _(bench: Bench) -> None:
    CLIPImageProcessor()(np.zeros((24, 30, 5), np.uint8))


@case(
    "an array that can be read both ways",
    InputError,
    "shape (3, 30, 3) can be read with its channels first or last",
    "Pass input_data_format=",
)
def _(bench: Bench) -> None:
    CLIPImageProcessor()(np.zeros((3, 30, 3), np.uint8))


@case("an image without pixels", ImageError, "expected at least one pixel", "got shape (0, 30, 3)")
def _(bench: Bench) -> None:
    CLIPImageProcessor()(np.zeros((0, 30, 3), np.uint8))


@case("no images at all", InputError, "expected at least one image", "got an empty list")
def _(bench: Bench) -> None:
    CLIPImageProcessor()([])


@case("a standard deviation of zero", ConfigError, "image_std", "expected", "0")
def _(bench: Bench) -> None:
    CLIPImageProcessor(image_std=[0.0, 0.2, 0.2])


@case("a number instead of a text", InputTypeError, "expected a string", "got int")
def _(bench: Bench) -> None:
    CLIPTokenizer()(5)  # type: ignore[arg-type]


@case("no texts at all", InputError, "expected at least one text", "got an empty list")
def _(bench: Bench) -> None:
    CLIPTokenizer()([])


@case("texts of several lengths as one tensor", InputError, "expected rows of one length", "padding=True")
def _(bench: Bench) -> None:
    CLIPTokenizer()(["a cat", "a cat and a dog"], return_tensors="np")


@case("a padding that does not exist", InputError, "expected padding to be True, False or one of", "got 'longer'")
def _(bench: Bench) -> None:
    CLIPTokenizer()("a cat", padding="longer")


@case("a side that does not exist", InputError, "expected padding_side to be 'left' or 'right'", "got 'top'")
def _(bench: Bench) -> None:
    CLIPTokenizer()(["a cat"], padding=True, padding_side="top")


@case("a processor call with neither images nor text", InputError, "expected images or text or both", "got neither")
def _(bench: Bench) -> None:
    CLIPProcessor.from_pretrained(bench.directory)()


@case(
    "a text where the images belong", InputTypeError, "images: got the text 'a cat'", "processor(images=..., text=...)"
)
def _(bench: Bench) -> None:
    CLIPProcessor.from_pretrained(bench.directory)("a cat")


@case("tensors of a framework that does not exist", InputError, "expected return_tensors to be one of np", "got 'mlx'")
def _(bench: Bench) -> None:
    CLIPTokenizer()("a cat", return_tensors="mlx")


@case(
    "tensors of a framework that is not installed",
    MissingExtraError,
    "return_tensors='tf' needs 'tensorflow'",
    "pip install 'triclip[tf]'",
)
def _(bench: Bench) -> None:
    with mock.patch.dict("sys.modules", {"tensorflow": None}):
        CLIPTokenizer()("a cat", return_tensors="tf")


@case(
    "the fast tokenizer, which is not installed",
    MissingExtraError,
    "needs 'tokenizers'",
    "pip install 'triclip[fast]'",
)
def _(bench: Bench) -> None:
    with mock.patch.dict("sys.modules", {"tokenizers": None, "clip_core.tokenizer.fast": None}):
        CLIPProcessor.from_pretrained(bench.directory, use_fast=True)


@case("a backend of the command that does not exist", InputError, "expected one of torch, tf, flax", "got 'mlx'")
def _(bench: Bench) -> None:
    choose_backend("mlx")


@case(
    "a backend of the command that is not installed",
    MissingExtraError,
    "the backend flax needs 'jax'",
    "pip install 'triclip[flax]'",
)
def _(bench: Bench) -> None:
    with mock.patch("clip_core.backends.find_spec", return_value=None):
        choose_backend("flax")
