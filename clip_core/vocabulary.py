"""A text tower with more or fewer tokens: the table of their embeddings, and the configuration that goes with it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checks import LEGACY_EOS_TOKEN_ID
from clip_core.config import CLIPTextConfig
from clip_core.errors import InputError


def rounded_count(count: int, multiple: int | None) -> int:
    """The number of tokens, rounded up to a multiple.

    Raises:
        InputError: one of them is no integer above 0.
    """
    for name, value in (("new_num_tokens", count), ("pad_to_multiple_of", 1 if multiple is None else multiple)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{name}: expected an integer above 0, got {value!r:.60}.")
    return count if multiple is None else -(-count // multiple) * multiple


def changes_for(config: CLIPTextConfig, count: int) -> dict[str, Any]:
    """The fields of a text configuration that change with the number of tokens.

    A configuration whose ``eos_token_id`` is 2 says that a text ends at its largest id, the last of the vocabulary.
    With more tokens that is no longer so, and the id that it was until now is written down.

    Raises:
        InputError: the token that ends a text would be lost.
    """
    legacy = config.eos_token_id == LEGACY_EOS_TOKEN_ID
    end = config.vocab_size - 1 if legacy else config.eos_token_id
    if count <= end:
        raise InputError(f"new_num_tokens: expected more than {end}, the id that ends a text, got {count}.")
    changes = {"vocab_size": count}
    return changes | {"eos_token_id": end} if legacy and count > config.vocab_size else changes


def resized_table(table: NDArray[Any], count: int) -> NDArray[Any]:
    """Rows of a table ``[vocab, hidden]``: the first ones or, after all of them, new ones that are their mean."""
    if count <= len(table):
        return table[:count].copy()
    mean = table.astype(np.float64).mean(axis=0).astype(table.dtype)
    return np.concatenate([table, np.broadcast_to(mean, (count - len(table), len(mean)))])
