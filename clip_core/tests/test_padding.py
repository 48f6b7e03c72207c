from dataclasses import replace

import numpy as np
import pytest

from clip_core.padding import LENGTHS, needed, rounded_up
from clip_core.tests.sizes import DISTINCT

CONFIG = DISTINCT.text_config  # ends at id 60
LEGACY = replace(CONFIG, eos_token_id=2)  # ends at the largest
IDS = np.array([[59, 4, 60, 0, 60, 0, 0], [59, 60, 8, 8, 8, 8, 8]])
LARGE_IDS = np.array([[5, 8, 9, 1, 9, 1, 1], [5, 9, 8, 7, 9, 7, 7]])


@pytest.mark.parametrize(("config", "ids"), [(CONFIG, IDS), (LEGACY, LARGE_IDS)])
def test_up_to_the_last_of_the_first_ends(config, ids):
    assert needed(ids, None, config) == (3, False)
    assert needed(ids[1:], None, config) == (2, False)


@pytest.mark.parametrize(
    ("place", "is_masked"), [((0, 2), True), ((0, 1), True), ((1, 1), True), ((0, 3), False), ((1, 2), False)]
)
def test_a_mask_matters_where_an_end_sees_what_it_hides(place, is_masked):
    mask = np.ones_like(IDS)
    mask[place] = 0
    assert needed(IDS, mask, CONFIG) == (3, is_masked)
    assert needed(IDS, mask.astype(bool), CONFIG) == (3, is_masked)


def test_no_texts():
    assert needed(np.empty((0, 7), np.int64), None, CONFIG) == (7, False)


def test_few_lengths():
    found = [rounded_up(length, 77) for length in range(1, 78)]
    assert all(length <= rounded for length, rounded in enumerate(found, 1))
    assert sorted(set(found)) == [*LENGTHS, 77]
    assert rounded_up(9, 11) == 11
