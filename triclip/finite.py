"""Results that are NaN or infinite, and what made them so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.errors import NonFiniteError
from triclip.engines import Engine, Vectors
from triclip.vectors import unit_length


def finished(engine: Engine, features: Vectors, normalize: bool, what: str) -> Vectors:
    """Features ``[batch, embed]`` as they may be given out: finite, and unless ``normalize=False`` of length 1.

    Raises:
        NonFiniteError: they are NaN or infinite, or have no direction where one is wanted.
    """
    check_results(engine, features, what)
    if not normalize:
        return features
    check_directions(features, what)
    return unit_length(features)


def check_results(engine: Engine, values: NDArray[np.float32], what: str) -> None:
    """Raises `NonFiniteError`, which names the cause, unless all values that an engine made are finite.

    Args:
        what: the values are, in the plural.
    """
    if not np.isfinite(values).all():
        with np.errstate(all="ignore"):
            cause = _cause(engine.model.named_weights(), engine.dtype)
        raise NonFiniteError(f"{what} are NaN or infinite: {cause}")


def check_directions(features: NDArray[np.float32], what: str) -> None:
    """Raises `NonFiniteError` where a vector has only zeros, and so no direction that others could be compared with."""
    if not features.any(axis=1).all():
        raise NonFiniteError(
            f"{what} have no direction: the model projects them to zeros only. The weights of its projection are zero, "
            "or too small for its dtype. Fetch or convert the checkpoint again."
        )


def _cause(weights: Mapping[str, NDArray[Any]], dtype: str) -> str:
    for name, weight in weights.items():
        count = weight.size - np.count_nonzero(np.isfinite(weight.astype(np.float32)))
        if count:
            return (
                f"so are {count} of {weight.size} numbers of the weight {name}. Fetch or convert the checkpoint again."
            )
    scale = float(weights["logit_scale"])
    if not np.isfinite(np.exp(np.float32(scale))):
        return f"the weight logit_scale is {scale:g}, whose exponential is infinite. Fetch the checkpoint again."
    wider = "" if dtype == "float32" else " Compute in float32."
    return f"all weights are finite, but the model's intermediate results exceed {dtype}.{wider}"
