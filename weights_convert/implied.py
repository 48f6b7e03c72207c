"""Tensors that files hold beside the weights and whose values follow from the configuration: masks, positions, sizes.

No model here has a place for another value, so it is looked at: it would be another model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from clip_core.checkpoint.tensors import Array
from weights_convert.model import AnyConfig

Holds: TypeAlias = Callable[[Array, AnyConfig], bool]
_MASKED = -1e4  # the exponential of this or less is zero in every dtype


@dataclass(frozen=True)
class Implied:
    """A tensor that is no weight.

    Attributes:
        pattern: of its name.
        holds: whether a value is the one that a configuration implies.
        note: for people, where another value is passed over; without it such a file is refused.
    """

    pattern: str
    holds: Holds
    note: str = ""


def is_causal(mask: Array, config: AnyConfig) -> bool:
    """Whether a mask hides what comes later and nothing else; added to logits, or true where it hides."""
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        return False
    later = np.triu(np.ones(mask.shape, bool), 1)
    if mask.dtype == np.bool_:
        return np.array_equal(mask, later)
    return bool(np.all(mask[later] <= _MASKED) and np.all(mask[~later] == 0))


def is_no_mask(mask: Array, config: AnyConfig) -> bool:
    """Whether a mask hides nothing."""
    return not mask.any()


def are_positions(ids: Array, config: AnyConfig) -> bool:
    """Whether positions are counted from zero, one by one."""
    return np.array_equal(ids.reshape(-1), np.arange(ids.size))


def is_setting(tower: str, name: str) -> Holds:
    """Whether a number is a setting of a tower; where the tower is not there, it is of no use."""

    def holds(value: Array, config: AnyConfig) -> bool:
        setting = getattr(getattr(config, tower, config), name, None)
        return setting is None or (value.size == 1 and value.item() == setting)

    return holds
