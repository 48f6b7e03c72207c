"""What `fit` and its like are given is checked before it goes into compiled code, where nothing can be raised."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from clip_core.checks import check_pixel_values
from clip_core.errors import InputTypeError
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
    for name, value in x.items() if isinstance(x, dict) else ():
        is_text = isinstance(value, np.ndarray) and value.dtype.kind in "USO"
        if isinstance(value, list | tuple | str) or is_text:
            raise InputTypeError(
                f"{name}: expected an array or a tensor of numbers, got {type(value).__name__} {value!r:.60}. Call the "
                "processor with return_tensors='np' and pass what it returns."
            )
    if hasattr(model, "vision_model") and "pixel_values" in arrays:
        check_pixel_values(host_values(arrays["pixel_values"]))
    if hasattr(model, "text_model") and "input_ids" in arrays:
        texts = (arrays.get(name) for name in ("input_ids", "attention_mask", "position_ids"))
        model.text_model.check(*texts)
