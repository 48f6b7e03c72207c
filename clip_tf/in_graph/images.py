"""Pictures to pixel values in the graph, with Pillow's numbers.

Pillow resizes along one axis, rounds to 8 bits, resizes along the other and rounds again. Its weights are whole
numbers, 2 ** 22 for 1; products and sums of these are exact in float64, so a matrix product gives its bytes.
"""

from __future__ import annotations

from os import PathLike
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from clip_core.errors import ConfigError, InputError, InputTypeError
from clip_core.image.processor import BICUBIC, CLIPImageProcessor
from clip_tf.in_graph.layer import GraphLayer, require

_ONE = 2.0**22
_SUPPORT = 2.0  # of the cubic kernel, in pixels of the smaller picture
_PROBES = ((41, 13), (17, 29), (5, 3))


@keras.saving.register_keras_serializable(package="triclip")
class TFCLIPImageProcessor(GraphLayer):
    """CLIP's image transform as a layer: in ``dataset.map``, in a functional model, in a SavedModel.

    The same bits as `CLIPImageProcessor` gives for a picture of these pixels, where Pillow is 13 or newer: older ones
    resize a picture more than twice as high as wide along the other axis first. A batch is of pictures of one size.

    Args:
        processor: whose options are taken, those of OpenAI's CLIP without; or its `to_dict`.

    Raises:
        ConfigError: another filter than the bicubic one, or an option of open_clip's own transforms.
    """

    def __init__(self, processor: CLIPImageProcessor | dict[str, Any] | None = None, **keywords: Any) -> None:
        super().__init__(**keywords)
        made = CLIPImageProcessor.from_dict(processor) if isinstance(processor, dict) else processor
        self.processor = made or CLIPImageProcessor()
        if self.processor.do_resize and self.processor.resample != BICUBIC:
            raise ConfigError(f"resample: expected {BICUBIC}, bicubic, in the graph, got {self.processor.resample}.")
        if "longest_edge" in self.processor.size or self.processor.fill_color:
            raise ConfigError("size, fill_color: expected no longest edge and no fill colour in the graph, got one.")
        bytes_ = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=-1)  # [byte, 1, channel]
        pointwise = self.processor(
            bytes_, do_resize=False, do_center_crop=False, return_tensors="np", input_data_format="channels_last"
        )
        self._table = np.float32(pointwise["pixel_values"][0, ..., 0])  # [channel, byte]
        with tf.init_scope():
            self._check()

    @classmethod
    def from_pretrained(cls, name_or_path: str | PathLike[str], **keywords: Any) -> Self:
        """With the options of a checkpoint; keywords and errors as of `CLIPImageProcessor.from_pretrained`."""
        return cls(CLIPImageProcessor.from_pretrained(name_or_path, **keywords))

    def _check(self) -> None:
        random = np.random.default_rng(0)
        for height, width in _PROBES:
            picture = random.integers(0, 256, (height, width, 3), np.uint8)
            expected = self.processor(picture, return_tensors="np", input_data_format="channels_last")["pixel_values"]
            if not np.array_equal(expected[0], self.call(tf.constant(picture))):
                raise ConfigError(f"TFCLIPImageProcessor: cannot do in the graph what {self.processor!r} says.")

    def call(self, images: Any) -> Any:
        """Pixel values ``[channel, height, width]`` or ``[batch, channel, height, width]``, float32.

        Args:
            images: bytes of RGB, ``[height, width, 3]`` or ``[batch, height, width, 3]``, of any height and width, as
                ``tf.io.decode_jpeg(contents, channels=3, dct_method="INTEGER_ACCURATE")`` returns them.

        Raises:
            InputTypeError, InputError: another dtype, or not 3 channels, as far as the graph knows its shapes.
            tf.errors.InvalidArgumentError: a picture without pixels, when the graph runs.
        """
        images = tf.convert_to_tensor(images)
        if images.dtype != tf.uint8:
            raise InputTypeError(f"images: expected uint8, values from 0 to 255, got {images.dtype.name}.")
        if images.shape.rank not in (3, 4) or images.shape[-1] != 3:
            raise InputError(
                f"images: expected [height, width, 3] or [batch, height, width, 3], got {images.shape}. Decode with "
                "channels=3, and say shapes that the graph does not know with tf.ensure_shape."
            )
        height, width = tf.shape(images)[-3], tf.shape(images)[-2]
        require(height * width > 0, "images: expected at least one pixel, got shape", [tf.shape(images)])
        new_height, new_width = self._resized(height, width)
        rows = _weights(height, new_height, *self._cut(new_height, "height"))  # [new row, row]
        columns = _weights(width, new_width, *self._cut(new_width, "width"))  # [new column, column]
        pixels = tf.cast(tf.experimental.numpy.moveaxis(images, -1, -3), tf.float64)
        cut = tf.cond(
            (new_height < height) & (height - new_height > 2 * (width - new_width)),  # Pillow's rule
            lambda: _along_width(columns, _along_height(rows, pixels)),
            lambda: _along_height(rows, _along_width(columns, pixels)),
        )
        channels = [tf.gather(self._table[index], tf.cast(cut[..., index, :, :], tf.int32)) for index in range(3)]
        values = tf.stack(channels, axis=-3)
        shape = [size if self.processor.do_center_crop else None for size in self.processor.crop_size.values()]
        values.set_shape([*images.shape[:-3], 3, *shape])
        return values

    def _resized(self, height: Any, width: Any) -> tuple[Any, Any]:
        size = self.processor.size
        if not self.processor.do_resize:
            return height, width
        if "shortest_edge" not in size:
            return tf.constant(size["height"]), tf.constant(size["width"])
        edge, short, long = size["shortest_edge"], tf.minimum(height, width), tf.maximum(height, width)
        new_long = tf.cast(tf.cast(edge * tf.cast(long, tf.int64), tf.float64) / tf.cast(short, tf.float64), tf.int32)
        return tf.where(width <= height, new_long, edge), tf.where(width <= height, edge, new_long)

    def _cut(self, length: Any, axis: str) -> tuple[Any, Any]:
        """Where the crop begins, below 0 if it is larger, and how long it is."""
        if not self.processor.do_center_crop:
            return 0, length
        crop = self.processor.crop_size[axis]
        if self.processor.profile == "huggingface":
            return (length - crop) // 2, crop
        half = tf.cast(tf.round(tf.cast(length - crop, tf.float64) / 2), tf.int32)  # to the even neighbour
        return tf.where(length >= crop, half, -((crop - length) // 2)), crop

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "processor": self.processor.to_dict()}


def _cubic(distance: Any) -> Any:
    x, a = tf.abs(distance), -0.5
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    return tf.where(x < 1, inner, tf.where(x < 2, (((x - 5) * x + 8) * x - 4) * a, 0.0))


def _weights(size: Any, new_size: Any, start: Any, count: Any) -> Any:
    """Pillow's weights, whole numbers: ``[count, size]``, of the new pixels from ``start`` on; 0 for those outside."""
    scale = tf.cast(size, tf.float64) / tf.cast(new_size, tf.float64)
    stretch = tf.maximum(scale, 1.0)
    new = tf.cast(start + tf.range(count), tf.float64)[:, None]  # [count, 1]
    old = tf.range(tf.cast(size, tf.float64))[None]  # [1, size]
    centre, reach = (new + 0.5) * scale, _SUPPORT * stretch
    is_near = (old >= tf.floor(tf.maximum(centre - reach + 0.5, 0.0))) & (old < tf.floor(centre + reach + 0.5))
    is_near &= (new >= 0) & (new < tf.cast(new_size, tf.float64))
    weights = tf.where(is_near, _cubic((old - centre + 0.5) * (1.0 / stretch)), 0.0)
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=-1, keepdims=True)) * _ONE
    return tf.where(weights < 0, tf.math.ceil(weights - 0.5), tf.floor(weights + 0.5))


def _along_width(columns: Any, pixels: Any) -> Any:
    return _rounded(tf.matmul(pixels, columns, transpose_b=True))


def _along_height(rows: Any, pixels: Any) -> Any:
    return _rounded(tf.matmul(rows, pixels))


def _rounded(sums: Any) -> Any:
    return tf.clip_by_value(tf.floor((sums + _ONE / 2) / _ONE), 0.0, 255.0)
