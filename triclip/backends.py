"""A model of any backend behind one interface: NumPy arrays in, NumPy arrays out.

Which backends are installed is found without importing them; only `load_encoder` imports a framework.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.directory import StoredWeights
from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.checks import check_text_values
from clip_core.config import CLIPConfig
from clip_core.errors import CLIPError, InputError, MissingExtraError
from clip_core.image.inputs import load_image
from clip_core.processor import CLIPProcessor

REQUIREMENTS = {"torch": ("torch",), "flax": ("jax", "flax"), "tf": ("tensorflow", "keras")}
"""Of each backend, which is also the name of its extra, the modules that it needs. In order of preference: that in
which they start: torch needs about a third of TensorFlow's time to classify one picture, flax two thirds."""

Features = NDArray[np.float32]
ImageFunction = Callable[[NDArray[np.float32]], Any]
TextFunction = Callable[[NDArray[np.int64], NDArray[np.int64]], Any]


def installed_backends() -> list[str]:
    """The backends whose frameworks are installed, the preferred one first."""
    return [name for name in REQUIREMENTS if _missing_module(name) is None]


def choose_backend(name: str | None) -> str:
    """The backend of that name, or the preferred one of those installed.

    Raises:
        InputError: no backend has that name.
        MissingExtraError: its framework is not installed, or none is.
    """
    if name is None:
        installed = installed_backends()
        if not installed:
            raise MissingExtraError("torch (or jax and flax, or tensorflow)", "torch", "running a model")
        return installed[0]
    if name not in REQUIREMENTS:
        raise InputError(f"backend: expected one of {', '.join(REQUIREMENTS)}, got {name!r}.")
    missing = _missing_module(name)
    if missing is not None:
        raise MissingExtraError(missing, name, f"the backend {name}")
    return name


def _missing_module(backend: str) -> str | None:
    return next((module for module in REQUIREMENTS[backend] if find_spec(module) is None), None)


class PreparedTexts(NamedTuple):
    """Token ids and mask, ``[text, token]``, and the numbers of the texts that were too long and are cut."""

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    cut: list[int]


@dataclass(frozen=True)
class Encoder:
    """A checkpoint, ready to encode images and texts.

    Attributes:
        backend: which framework computes.
        config: of the model.
        processor: of the checkpoint.
        scale: what cosine similarities are multiplied with, ``exp(logit_scale)``.
    """

    backend: str
    config: CLIPConfig
    processor: CLIPProcessor
    scale: float
    image_features: ImageFunction
    text_features: TextFunction

    def prepare_image(self, path: str) -> NDArray[np.float32]:
        """Reads a picture: ``[channel, height, width]``.

        Raises:
            ImageError: it cannot be read.
        """
        pixels = self.processor.image_processor(load_image(path), return_tensors="np")["pixel_values"]
        return np.asarray(pixels[0])

    def prepare_texts(self, texts: list[str]) -> PreparedTexts:
        """Tokenizes texts and cuts those that are longer than the model's context.

        Raises:
            InputError: the tokenizer gives ids that the model does not know.
        """
        tokenizer, limit = self.processor.tokenizer, self.config.text_config.max_position_embeddings
        lengths = [len(row) for row in tokenizer(texts, verbose=False)["input_ids"]]
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="np")
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        check_text_values(ids, mask, None, self.config.text_config)
        return PreparedTexts(ids, mask, [index for index, length in enumerate(lengths) if length > limit])

    def encode_images(self, pixel_values: NDArray[np.float32]) -> Features:
        """Unit vectors ``[image, embed]`` of pixels ``[image, channel, height, width]``."""
        return unit_length(np.asarray(self.image_features(pixel_values), np.float32))

    def encode_texts(self, texts: PreparedTexts, batch_size: int) -> Features:
        """Unit vectors ``[text, embed]``, computed ``batch_size`` texts at a time."""
        parts = [
            np.asarray(
                self.text_features(
                    texts.input_ids[start : start + batch_size], texts.attention_mask[start : start + batch_size]
                ),
                np.float32,
            )
            for start in range(0, len(texts.input_ids), batch_size)
        ]
        return unit_length(np.concatenate(parts))

    def logits(self, image_embeds: Features, text_embeds: Features) -> NDArray[np.float64]:
        """Scaled cosine similarities ``[image, text]`` of unit vectors, in float64."""
        return self.scale * (image_embeds.astype(np.float64) @ text_embeds.T.astype(np.float64))


def unit_length(embeds: Features) -> Features:
    """Vectors ``[..., embed]`` divided by their length."""
    unit: Features = embeds / np.linalg.norm(embeds, axis=-1, keepdims=True)
    return unit


def load_encoder(name_or_path: str, backend: str) -> Encoder:
    """Loads a checkpoint, see `clip_core.resolve_checkpoint` for its name, into an installed backend.

    Raises:
        CheckpointError, ConfigError: the checkpoint is not there or broken.
        MissingExtraError, CLIPError: the framework is not installed, or cannot be imported.
    """
    directory = resolve_checkpoint(name_or_path, part="weights")
    config, processor = CLIPConfig.from_pretrained(directory), CLIPProcessor.from_pretrained(directory)
    load = _LOADERS[choose_backend(backend)]
    try:
        with quiet_framework():
            image_features, text_features = load(directory)
    except ImportError as error:
        raise CLIPError(
            f"the backend {backend} is installed but cannot be imported: {error}. "
            f"Install it anew: pip install --force-reinstall 'triclip[{backend}]'"
        ) from error
    scale = float(np.exp(StoredWeights(directory)["logit_scale"].astype(np.float64).reshape(())))
    return Encoder(backend, config, processor, scale, image_features, text_features)


@contextmanager
def quiet_framework() -> Iterator[None]:
    """Keeps the greetings of frameworks from the terminal; if something unforeseen happens they are printed after all.

    TensorFlow writes some of them to the file descriptor before any of its switches is read.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryFile() as kept, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stderr = os.dup(2)
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except CLIPError:
            raise
        except BaseException:
            os.dup2(stderr, 2)
            kept.seek(0)
            os.write(2, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _load_torch(directory: Path) -> tuple[ImageFunction, TextFunction]:
    import torch

    from clip_torch import CLIPModel

    model = CLIPModel.from_pretrained(directory).to("cuda" if torch.cuda.is_available() else "cpu")

    def on_device(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(model.device)

    @torch.inference_mode()
    def image_features(pixel_values: NDArray[np.float32]) -> NDArray[np.float32]:
        return model.get_image_features(on_device(pixel_values)).cpu().numpy()

    @torch.inference_mode()
    def text_features(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        return model.get_text_features(on_device(ids), on_device(mask)).cpu().numpy()

    return image_features, text_features


def _load_tf(directory: Path) -> tuple[ImageFunction, TextFunction]:
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the command decides, whatever the user's own programs use
    import tensorflow as tf

    from clip_tf import TFCLIPModel

    model = TFCLIPModel.from_pretrained(directory)
    image_features = tf.function(lambda pixel_values: model.get_image_features(pixel_values), reduce_retracing=True)
    text_features = tf.function(lambda ids, mask: model.get_text_features(ids, mask), reduce_retracing=True)
    return image_features, lambda ids, mask: text_features(ids.astype(np.int32), mask.astype(np.int32))


def _load_flax(directory: Path) -> tuple[ImageFunction, TextFunction]:
    from flax import nnx

    from clip_flax import FlaxCLIPModel

    model = FlaxCLIPModel.from_pretrained(directory)
    image_features = nnx.jit(lambda model, pixel_values: model.get_image_features(pixel_values))
    text_features = nnx.jit(lambda model, ids, mask: model.get_text_features(ids, mask))
    return (
        lambda pixel_values: image_features(model, pixel_values),
        lambda ids, mask: text_features(model, ids.astype(np.int32), mask.astype(np.int32)),
    )


_LOADERS = {"torch": _load_torch, "flax": _load_flax, "tf": _load_tf}
