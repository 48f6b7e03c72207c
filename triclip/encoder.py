"""Images and texts to vectors, with any checkpoint and in any backend: NumPy arrays come out, no framework shows."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.backends import choose_backend
from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.checks import check_pixel_input
from clip_core.config import CLIPConfig
from clip_core.errors import BackendError, CLIPError, InputError, InputTypeError
from clip_core.image.inputs import errors_naming
from clip_core.image.loading import load_image
from clip_core.image.many import in_threads
from clip_core.processor import CLIPProcessor
from triclip.checkpoints import check_native, check_sizes
from triclip.engines import Engine, Vectors, open_engine
from triclip.finite import check_results, finished
from triclip.inputs import ImageInput, is_vectors, listed_images, listed_texts, parts
from triclip.labels import DEFAULT_TEMPLATE, Templates
from triclip.text_encoder import TextEncoder
from triclip.vectors import scaled_cosines, unit_length

DTYPES = ("float32", "bfloat16", "float16", "int8", "auto")
WITH_INT8 = ("torch", "onnx")
"""The backends that compute in int8."""


def load(
    name_or_path: str | PathLike[str], backend: str | None = None, device: str | None = None, dtype: str | None = None
) -> Encoder:
    """A checkpoint, ready to encode images and texts.

    Args:
        name_or_path: a directory, ``"triclip-emoji"`` or a repository name; see `clip_core.resolve_checkpoint`.
        backend: ``"torch"``, ``"tf"``, ``"flax"`` or ``"onnx"``; the first installed of torch, flax, tf, onnx unless
            given.
        device: ``"cpu"``, ``"gpu"`` or ``"cuda"``, ``"cuda:1"``, ``"mps"``, ``"/GPU:0"``; a GPU if there is one unless
            given.
        dtype: of weights and computation: ``"float32"`` unless given, ``"bfloat16"``, ``"float16"``, or ``"auto"``,
            which is that of the stored weights; with the backends torch, on a CPU, and onnx also ``"int8"``, of the
            products of the blocks. With onnx, it is of the weights alone: computation is in float32, but for products
            of int8. Vectors are float32 in any case.

    Raises:
        CheckpointError, ConfigError: the checkpoint is not there or broken.
        MissingExtraError, BackendError: the framework is not installed, or not as it is needed.
        InputError: no such backend or device.
        InputTypeError: no such dtype.
    """
    backend, dtype = choose_backend(backend), "float32" if dtype is None else dtype
    if dtype not in DTYPES:
        raise InputTypeError(f"dtype: expected {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, got {dtype!r}.")
    if dtype == "int8" and backend not in WITH_INT8:
        raise InputTypeError(
            f"dtype: int8 is computed by the backends {' and '.join(WITH_INT8)}, got {backend!r}. Name one of them, or "
            "take bfloat16 where the hardware has it."
        )
    directory = resolve_checkpoint(name_or_path, part="weights and processor")
    check_native(directory)
    processor = CLIPProcessor.from_directory(directory)
    check_sizes(processor.image_processor, CLIPConfig.from_directory(directory).vision_config)
    try:
        engine = open_engine(backend, directory, device, dtype)
    except CLIPError:
        raise
    except ImportError as error:
        raise BackendError(
            f"the backend {backend} is installed but cannot be imported: {error}. "
            f"Install it anew: pip install --force-reinstall 'triclip[{backend}]'"
        ) from error
    return Encoder(os.fspath(name_or_path), backend, processor, engine)


class Encoder:
    """A checkpoint in one framework. `load` makes it.

    A file is opened with `clip_core.load_image`, which turns it upright; Pillow images and arrays are taken as given.
    Where images or texts are asked for, one may stand for a list of one. All vectors are float32; ``normalize=False``
    gives them as the model projects them, otherwise they have length 1.

    Attributes:
        name: of the checkpoint, as it was given to `load`.
        backend: which framework computes.
        processor: of the checkpoint.
        text_encoder: what texts are encoded with.
    """

    def __init__(self, name: str, backend: str, processor: CLIPProcessor, engine: Engine) -> None:
        self.name = name
        self.backend = backend
        self.processor = processor
        self._engine = engine
        self.text_encoder = TextEncoder(engine, processor.tokenizer)

    @property
    def config(self) -> CLIPConfig:
        """The configuration of the model."""
        config: CLIPConfig = self._engine.model.config
        return config

    @property
    def device(self) -> str:
        """Where the model computes, such as ``"cpu:0"`` or ``"gpu:0"``; `load` takes it in every backend."""
        return self._engine.device

    @property
    def dtype(self) -> str:
        """The dtype of the weights."""
        return self._engine.dtype

    @property
    def embed_dim(self) -> int:
        """The length of a vector."""
        return self.config.projection_dim

    def digest(self) -> str:
        """SHA-256 over all that the model's numbers depend on: its weights, as they are held, and its settings."""
        from triclip.model_digest import model_digest  # the converter comes with it, which takes a while to import

        return model_digest(self._engine.model)

    def __repr__(self) -> str:
        place = f"backend={self.backend!r}, device={self.device!r}, dtype={self.dtype!r}"
        return f"Encoder({self.name!r}, {place}, embed_dim={self.embed_dim})"

    def encode_images(
        self, images: ImageInput | Sequence[ImageInput], *, batch_size: int = 32, normalize: bool = True
    ) -> Vectors:
        """Vectors ``[image, embed]``; a single image gives ``[1, embed]``.

        Args:
            batch_size: how many images are read, in threads, and computed at a time.

        Raises:
            InputError: an empty list, a file that is no image (`ImageError`), or pixels that cannot be.
            InputTypeError: something is neither a file nor an image.
            NonFiniteError: the model makes NaN, infinity or, where a direction is wanted, zeros of them.
        """
        numbered = list(enumerate(listed_images(images)))
        return np.concatenate(
            [self.encode_pixels(self._prepared(numbered[part]), normalize) for part in parts(len(numbered), batch_size)]
        )

    def prepare_image(self, image: ImageInput) -> NDArray[np.float32]:
        """What the model is given of one image: ``[channel, height, width]``.

        Raises:
            InputError, InputTypeError: as of `encode_images`.
        """
        opened = load_image(image) if isinstance(image, str | PathLike) else image
        pixels = self.processor.image_processor(opened, return_tensors="np")["pixel_values"]
        if len(pixels) != 1:
            raise InputError(f"expected one image, got {len(pixels)}. Give several as one list.")
        check_pixel_input(pixels.shape, pixels.dtype.name, self.config.vision_config, False)
        return np.asarray(pixels[0])

    def _prepared(self, numbered: list[tuple[int, ImageInput]]) -> NDArray[np.float32]:
        return np.stack(in_threads([image for _, image in numbered], self._prepare_numbered, numbered))

    def _prepare_numbered(self, numbered: tuple[int, ImageInput]) -> NDArray[np.float32]:
        number, image = numbered
        with errors_naming(f"image {number}"):
            return self.prepare_image(image)

    def encode_pixels(self, pixel_values: NDArray[np.float32], normalize: bool = True) -> Vectors:
        """Vectors ``[image, embed]`` of prepared images, ``[image, channel, height, width]``, in one batch."""
        return finished(self._engine, self._engine.image_features(pixel_values), normalize, "vectors of images")

    def encode_texts(
        self,
        texts: str | Sequence[str],
        *,
        batch_size: int = 32,
        normalize: bool = True,
        truncate: bool = False,
        advance: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Vectors ``[text, embed]``; a single text gives ``[1, embed]``.

        Args:
            batch_size: how many texts are computed at a time.
            truncate: cut texts that are longer than the model's context instead of raising an error.
            advance: is called with the number of texts whenever so many more are done.

        Raises:
            InputError: an empty list, a text that is too long, or a tokenizer with ids that the model does not know.
            InputTypeError: something is not text.
            NonFiniteError: as of `encode_images`.
        """
        return self.text_encoder.encode(listed_texts(texts, "texts"), batch_size, normalize, truncate, advance)

    def too_long(self, texts: str | Sequence[str]) -> list[int]:
        """The numbers of the texts that `encode_texts` refuses, or cuts if asked to; the first is 0."""
        return self.text_encoder.too_long(listed_texts(texts, "texts"))

    def encode_labels(
        self,
        labels: str | Sequence[str],
        templates: Templates = DEFAULT_TEMPLATE,
        *,
        batch_size: int = 32,
        truncate: bool = False,
        advance: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Vectors ``[label, embed]``: for each label the mean of its templates' vectors (CLIP paper, section 3.1.4).

        Args:
            templates: texts with ``{}`` where the label goes, or a mapping with texts of its own for each label.
            batch_size, truncate, advance: as of `encode_texts`, whose texts are all templates with all labels.

        Raises:
            InputError, InputTypeError, NonFiniteError: as of `encode_texts`; or what `build_zero_shot_classifier`
                raises of labels and templates.
        """
        listed = listed_texts(labels, "labels")
        return self.text_encoder.encode_labels(listed, templates, batch_size, truncate, advance)

    def classify(
        self,
        images: ImageInput | Sequence[ImageInput] | Vectors,
        labels: str | Sequence[str],
        templates: Templates = DEFAULT_TEMPLATE,
        *,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Probabilities ``[image, label]``: which of the labels does each image show? Each row adds up to 1.

        Raises:
            InputError, InputTypeError, NonFiniteError: as of `logits` and `encode_labels`.
        """
        label_embeds = self.encode_labels(labels, templates, batch_size=batch_size)
        return softmax(self.logits(images, label_embeds, batch_size=batch_size)).astype(np.float32)

    def logits(
        self,
        images: ImageInput | Sequence[ImageInput] | Vectors,
        texts: str | Sequence[str] | Vectors,
        *,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """The model's own logits ``[image, text]``: cosine similarities times ``exp(logit_scale)``.

        Args:
            images: what `encode_images` takes, or its vectors.
            texts: what `encode_texts` takes, or its vectors.

        Raises:
            InputError, InputTypeError, NonFiniteError: as of the two, or vectors of another length.
        """
        text_embeds, image_embeds = self._text_vectors(texts, batch_size), self._image_vectors(images, batch_size)
        logits = scaled_cosines(text_embeds, image_embeds, self._engine.logit_scale())
        check_results(self._engine, logits, "logits")
        return logits

    def similarity(
        self,
        images: ImageInput | Sequence[ImageInput] | Vectors,
        texts: str | Sequence[str] | Vectors,
        *,
        batch_size: int = 32,
    ) -> NDArray[np.float32]:
        """Cosine similarities ``[image, text]``, from -1 to 1; arguments and errors as of `logits`."""
        return self._image_vectors(images, batch_size) @ self._text_vectors(texts, batch_size).T

    def _image_vectors(self, images: ImageInput | Sequence[ImageInput] | Vectors, batch_size: int) -> Vectors:
        if is_vectors(images):
            return self._given(images, "images")
        return self.encode_images(images, batch_size=batch_size)

    def _text_vectors(self, texts: str | Sequence[str] | Vectors, batch_size: int) -> Vectors:
        if isinstance(texts, np.ndarray):
            return self._given(texts, "texts")
        return self.encode_texts(texts, batch_size=batch_size)

    def _given(self, vectors: Any, name: str) -> Vectors:
        """Vectors of the caller, ``[batch, embed]``, at unit length."""
        rows = np.atleast_2d(vectors).astype(np.float32)
        if rows.shape[1:] != (self.embed_dim,):
            raise InputError(f"{name}: expected vectors [batch, {self.embed_dim}], got shape {vectors.shape}.")
        if not (np.isfinite(rows).all() and rows.any(axis=1).all()):
            raise InputError(f"{name}: expected vectors of finite numbers that are not all 0.")
        return unit_length(rows)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities over the last axis, in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    weights = np.exp(shifted)
    probabilities: NDArray[np.float64] = weights / weights.sum(axis=-1, keepdims=True)
    return probabilities
