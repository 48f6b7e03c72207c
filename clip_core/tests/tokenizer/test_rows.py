"""Rows are cut and filled by the documented strategies."""

import numpy as np
import pytest

from clip_core.errors import InputError, InputTypeError
from clip_core.tokenizer.options import Padding, Truncation
from clip_core.tokenizer.rows import columns_of, pad_rows, truncate

FIRST, SECOND = [1, 2, 3, 4, 5], [6, 7, 8]


@pytest.mark.parametrize(
    ("truncation", "excess", "side", "expected"),
    [
        (Truncation.LONGEST_FIRST, 1, "right", ([1, 2, 3, 4], [6, 7, 8], [])),
        (Truncation.LONGEST_FIRST, 3, "right", ([1, 2, 3], [6, 7], [])),
        (Truncation.LONGEST_FIRST, 3, "left", ([3, 4, 5], [7, 8], [])),
        (Truncation.ONLY_FIRST, 2, "right", ([1, 2, 3], [6, 7, 8], [3, 4, 5])),
        (Truncation.ONLY_FIRST, 2, "left", ([3, 4, 5], [6, 7, 8], [1, 2, 3])),
        (Truncation.ONLY_SECOND, 2, "right", ([1, 2, 3, 4, 5], [6], [6, 7, 8])),
        (Truncation.ONLY_SECOND, 3, "left", ([1, 2, 3, 4, 5], [], [6, 7, 8])),
    ],
)
def test_pairs_are_cut(truncation, excess, side, expected):
    assert truncate(FIRST, SECOND, excess, truncation, side, stride=1) == expected


def test_longest_first_levels_a_longer_second_text():
    assert truncate(SECOND, FIRST, 3, Truncation.LONGEST_FIRST, "right", stride=0) == ([6, 7, 8], [1, 2], [])


def test_a_text_cannot_lose_more_than_it_has():
    with pytest.raises(InputError, match="at least 4 tokens to cut, got a text of 3"):
        truncate(FIRST, SECOND, 4, Truncation.ONLY_SECOND, "right", stride=0)


@pytest.mark.parametrize(
    ("padding", "multiple", "length"),
    [(Padding.NONE, None, None), (Padding.LONGEST, None, 3), (Padding.LONGEST, 4, 4), (Padding.MAX_LENGTH, None, 5)],
)
def test_rows_are_filled(padding, multiple, length):
    columns = pad_rows(
        {"input_ids": [[1, 2, 3], [4]], "other": [7, 8]},
        padding=padding,
        max_length=5,
        pad_to_multiple_of=multiple,
        padding_side="left",
        fillers={"input_ids": 9, "attention_mask": 0},
        return_attention_mask=True,
    )
    length = length or 1
    assert columns["input_ids"][1] == [9] * (length - 1) + [4]
    assert columns["attention_mask"][1] == [0] * (length - 1) + [1]
    assert columns["other"] == [7, 8]


def test_encodings_are_collected_from_lists_and_arrays():
    assert columns_of([{"input_ids": np.array([1, 2])}, {"input_ids": [3]}]) == {"input_ids": [[1, 2], [3]]}
    with pytest.raises(InputError, match="the same entries"):
        columns_of([{"input_ids": [1]}, {"ids": [1]}])
    with pytest.raises(InputError, match="expected encodings with 'input_ids', got ids"):
        columns_of({"ids": [1]})
    with pytest.raises(InputTypeError, match="got list"):
        columns_of([[1, 2]])
