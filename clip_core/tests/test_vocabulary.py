"""Another number of tokens."""

import numpy as np
import pytest

from clip_core.config import CLIPTextConfig
from clip_core.errors import InputError
from clip_core.vocabulary import changes_for, resized_table, rounded_count

CONFIG = CLIPTextConfig(vocab_size=61, eos_token_id=58)
LEGACY = CLIPTextConfig(vocab_size=61, eos_token_id=2)


def test_old_rows_stay_and_new_ones_are_their_mean():
    table = np.arange(12, dtype=np.float16).reshape(4, 3)
    grown = resized_table(table, 6)
    np.testing.assert_array_equal(grown[:4], table)
    np.testing.assert_array_equal(grown[4:], [[4.5, 5.5, 6.5]] * 2)
    assert grown.dtype == np.float16
    np.testing.assert_array_equal(resized_table(table, 3), table[:3])


def test_the_id_that_ends_a_text_stays_or_is_written_down():
    assert changes_for(CONFIG, 64) == {"vocab_size": 64}
    assert changes_for(CONFIG, 59) == {"vocab_size": 59}
    assert changes_for(LEGACY, 64) == {"vocab_size": 64, "eos_token_id": 60}
    for config, end in ((CONFIG, 58), (LEGACY, 60)):
        with pytest.raises(InputError, match=f"expected more than {end}, the id that ends a text, got {end}"):
            changes_for(config, end)


def test_numbers_are_rounded_up():
    assert [rounded_count(61, multiple) for multiple in (None, 8, 61)] == [61, 64, 61]
    for count, multiple in ((0, None), (True, None), (4.0, None), (4, 0)):
        with pytest.raises(InputError, match="expected an integer above 0"):
            rounded_count(count, multiple)
