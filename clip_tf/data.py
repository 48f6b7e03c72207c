"""What `fit` and its like are given is checked before it goes into compiled code, where nothing can be raised."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import GeneratorType
from typing import Any

import keras
import numpy as np
from keras import ops

from clip_core.checks import check_pixel_values
from clip_core.errors import InputError, InputTypeError
from clip_tf.layers import host_values


def check_arrays(model: Any, x: Any) -> None:
    """Checks texts and pixels among the inputs of a model, one of them or several by name.

    Arrays are looked at, and tensors in host memory; data sets and generators are not.

    Raises:
        InputError, InputTypeError: shapes, dtypes or values that the towers cannot take, or lists in place of arrays.
    """
    only = "input_ids" if hasattr(model, "text_model") else "pixel_values"
    named = x if isinstance(x, dict) else {only: x}
    arrays = {name: value for name, value in named.items() if isinstance(value, np.ndarray) or ops.is_tensor(value)}
    for name, value in named.items():
        is_text = isinstance(value, np.ndarray) and value.dtype.kind in "USO"
        if is_text or (isinstance(value, list | tuple | str) and isinstance(x, dict)):
            raise InputTypeError(
                f"{name}: expected an array or a tensor of numbers, got {type(value).__name__} {value!r:.60}. Call the "
                "processor with return_tensors='np' and pass what it returns."
            )
    if hasattr(model, "vision_model") and "pixel_values" in arrays:
        check_pixel_values(host_values(arrays["pixel_values"]))
    if hasattr(model, "text_model") and "input_ids" in arrays:
        texts = (arrays.get(name) for name in ("input_ids", "attention_mask", "position_ids"))
        model.text_model.check(*texts)


def checking(model: Any, data: Any, problems: list[Exception]) -> Any:
    """Data that raises at a batch whose texts the tower cannot take; the first batch's pixels are looked at, too.

    That is a `tf.data.Dataset`, which looks at its batches while the one before trains, or a generator; else the data
    themselves.

    Args:
        problems: gets the error, which `tf.data` makes one of its own.
    """
    tensorflow, seen = sys.modules.get("tensorflow"), []

    def check(x: Any) -> None:
        if seen and isinstance(x, dict):
            x = {name: value for name, value in x.items() if name != "pixel_values"}  # many, and prepared alike
        seen.append(None)
        try:
            check_arrays(model, x)
        except (InputError, InputTypeError) as error:
            problems.append(error)
            raise

    if isinstance(data, GeneratorType):
        return _checking_generator(data, check)
    if tensorflow is not None and isinstance(data, tensorflow.data.Dataset):
        return data.map(_checking_map(check), num_parallel_calls=tensorflow.data.AUTOTUNE)
    return data


def _checking_generator(data: GeneratorType[Any, Any, Any], check: Callable[[Any], None]) -> Any:
    for batch in data:
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        check(x)
        yield batch


def _checking_map(check: Callable[[Any], None]) -> Callable[..., Any]:
    import tensorflow as tf

    def look(*parts: Any) -> Any:
        batch = parts if len(parts) > 1 else parts[0]
        x, _, _ = keras.utils.unpack_x_y_sample_weight(batch)
        named = x if isinstance(x, dict) else {"": x}
        dense = {name: value for name, value in named.items() if isinstance(value, tf.Tensor)}

        def run(*values: Any) -> None:
            found = dict(zip(dense, values, strict=True))
            check(found if isinstance(x, dict) else found.get(""))

        with tf.control_dependencies([tf.numpy_function(run, list(dense.values()), [])]):
            return tf.nest.map_structure(lambda part: part if part is None else tf.identity(part), batch)

    return look
