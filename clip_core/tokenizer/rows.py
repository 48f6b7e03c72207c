"""Rows of token ids: special tokens around the texts, cut where they are too long, filled where too short."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from clip_core.errors import InputError, InputTypeError
from clip_core.tokenizer.options import Padding, Truncation

logger = logging.getLogger(__name__)

Ids = list[int]
Columns = dict[str, Any]
"""What an encoder makes of a batch: `input_ids` and the like, an entry for each row."""

PAD_TOKEN_TYPE_ID = 0

_Entry = TypeVar("_Entry")


def surround(first: Sequence[_Entry], second: Sequence[_Entry] | None, start: _Entry, end: _Entry) -> list[_Entry]:
    """CLIP's row of a text, `start A end`, or of a pair, `start A end end B end`."""
    row = [start, *first, end]
    return row if second is None else [*row, end, *second, end]


def special_mask(first: Ids, second: Ids | None) -> list[int]:
    """1 where `surround` puts a special token, 0 elsewhere."""
    return surround([0] * len(first), None if second is None else [0] * len(second), 1, 1)


def truncate(
    first: Ids, second: Ids | None, excess: int, truncation: Truncation, side: str, stride: int
) -> tuple[Ids, Ids | None, Ids]:
    """Remove `excess` ids from the texts of a row; the removed ones and `stride` ids before them come third.

    `longest_first` on a pair shortens both and returns no removed ids: they are not of one piece.

    Raises:
        InputError: the text that should give them has not enough ids.
    """
    if second is not None and truncation is Truncation.LONGEST_FIRST:
        from_first, from_second = _shares(len(first), len(second), excess)
        return _cut(first, from_first, side), _cut(second, from_second, side), []
    if truncation is Truncation.ONLY_SECOND:
        if second is None:
            raise InputError("truncation='only_second' needs a text_pair")
        return first, _cut(second, excess, side), _window(second, excess + stride, side)
    return _cut(first, excess, side), second, _window(first, excess + stride, side)


def _shares(first: int, second: int, excess: int) -> tuple[int, int]:
    """How many ids each text of a pair gives: the longer alone until both are level, then both alike."""
    alone = min(abs(first - second), excess)
    half = (excess - alone) // 2
    other_half = excess - alone - half
    return (alone + half, other_half) if first > second else (half, alone + other_half)


def _cut(ids: Ids, count: int, side: str) -> Ids:
    if count > len(ids):
        raise InputError(
            f"expected at least {count} tokens to cut, got a text of {len(ids)}: "
            "raise max_length, or use truncation='longest_first'"
        )
    return ids[count:] if side == "left" else ids[: len(ids) - count]


def _window(ids: Ids, count: int, side: str) -> Ids:
    return ids[:count] if side == "left" else ids[-count:]


def fillers(pad_token_id: int) -> dict[str, int]:
    """What each column of an encoding is filled with."""
    return {
        "input_ids": pad_token_id,
        "attention_mask": 0,
        "token_type_ids": PAD_TOKEN_TYPE_ID,
        "special_tokens_mask": 1,
    }


def pad_rows(
    columns: Columns,
    *,
    padding: Padding,
    max_length: int | None,
    pad_to_multiple_of: int | None,
    padding_side: str,
    fillers: Mapping[str, int],
    return_attention_mask: bool,
    as_arrays: bool = False,
) -> Columns:
    """Fill the rows of `input_ids` and of every column in `fillers` up to one length; longer rows stay as they are.

    Args:
        as_arrays: where there are ids and mask alone, of one length, they may be arrays ``[row, token]``.
    """
    columns = dict(columns)
    rows = columns["input_ids"]
    if padding is Padding.NONE:
        if return_attention_mask and "attention_mask" not in columns:
            columns["attention_mask"] = [[1] * len(row) for row in rows]
        return columns
    length = max(map(len, rows)) if padding is Padding.LONGEST else max_length or 0
    if pad_to_multiple_of:
        length = -(-length // pad_to_multiple_of) * pad_to_multiple_of
    if as_arrays and set(columns) == {"input_ids"} and max(map(len, rows)) <= length:
        ids, mask = _arrays(rows, length, fillers["input_ids"], padding_side)
        return {"input_ids": ids, "attention_mask": mask} if return_attention_mask else {"input_ids": ids}
    if return_attention_mask and "attention_mask" not in columns:
        columns["attention_mask"] = [[1] * len(row) for row in rows]
    for name in fillers.keys() & columns.keys():
        columns[name] = [_fill(list(row), length, fillers[name], padding_side) for row in columns[name]]
    return columns


def _arrays(rows: Sequence[Ids], length: int, filler: int, side: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    lengths = np.fromiter(map(len, rows), np.int64, len(rows))[:, None]
    places = np.arange(length)
    is_text = places >= length - lengths if side == "left" else places < lengths  # [row, token]
    ids = np.full(is_text.shape, filler)
    try:
        ids[is_text] = np.fromiter(chain.from_iterable(rows), np.int64, int(lengths.sum()))
    except OverflowError:
        raise InputError("expected ids below 2**63 to make an array, got larger ones: look at vocab.json") from None
    return ids, is_text.astype(np.int64)


def _fill(row: list[int], length: int, filler: int, side: str) -> list[int]:
    filling = [filler] * (length - len(row))
    return filling + row if side == "left" else row + filling


def columns_of(encoded: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What `pad` was given, as one dict of plain lists; a list of encodings is a batch.

    Raises:
        InputError: no `input_ids`, encodings with different entries, or rows that do not match in number.
        InputTypeError: neither an encoding nor a list of encodings.
    """
    if isinstance(encoded, Mapping):
        columns = {name: _as_list(value) for name, value in encoded.items()}
    elif isinstance(encoded, (list, tuple)) and encoded and all(isinstance(row, Mapping) for row in encoded):
        names = list(encoded[0])
        if any(set(row) != set(names) for row in encoded):
            raise InputError("expected encodings with the same entries to pad together; some have others")
        columns = {name: [_as_list(row[name]) for row in encoded] for name in names}
    else:
        raise InputTypeError(f"expected an encoding or a list of encodings to pad, got {type(encoded).__name__}")
    if "input_ids" not in columns:
        raise InputError(f"expected encodings with 'input_ids', got {', '.join(columns) or 'none'}")
    return columns


def _as_list(value: Any) -> Any:
    """Arrays and tensors as lists, also inside a list; everything else as it is."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "numpy"):
        return value.numpy().tolist()
    return [_as_list(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def ids_of(token_ids: Any) -> Ids:
    """One sequence of ids, or a single id, as a list.

    Raises:
        InputError: a batch.
    """
    if hasattr(token_ids, "tolist"):
        token_ids = token_ids.tolist()
    elif hasattr(token_ids, "numpy"):
        token_ids = token_ids.numpy().tolist()
    ids = [token_ids] if isinstance(token_ids, int) else list(token_ids)
    for index in ids:
        if not hasattr(index, "__index__") and not getattr(index, "ndim", 1) == 0:
            raise InputError(f"expected one sequence of ids to decode, got {index!r:.60} inside; see batch_decode")
    return [int(index) for index in ids]


_TENSOR_TYPES = {"numpy": "np", "torch": "pt", "tensorflow": "tf", "jax": "jax", "jaxlib": "jax"}


def tensor_type_of(encoded: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str | None:
    """The `return_tensors` that gives back what `pad` was given; `None` for lists."""
    ids = encoded["input_ids"] if isinstance(encoded, Mapping) else encoded[0]["input_ids"]
    first = ids[0] if isinstance(ids, (list, tuple)) and ids else ids
    return _TENSOR_TYPES.get(type(first).__module__.partition(".")[0])


def warn_of_long_rows(rows: Sequence[Ids], limit: int) -> None:
    """Log one warning if rows are longer than the model can take."""
    lengths = [len(row) for row in rows if len(row) > limit]
    if lengths:
        logger.warning(
            "%d of %d texts are longer than the %d tokens of the model (the longest has %d); "
            "pass truncation=True to cut them",
            len(lengths),
            len(rows),
            limit,
            max(lengths),
        )
