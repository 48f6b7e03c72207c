"""What tokenizers remember is bounded, and remembering changes no id."""

import copy
import pickle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from clip_core.tokenizer import remembered
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.remembered import LONGEST, Known
from clip_core.tokenizer.text import clean_pieces, clean_text

MIXED = st.lists(
    st.sampled_from([*"aZ9 .'&\t\n\r\x0b_é’ﬁ中\u0301", "&amp;", "can't", "<|endoftext|>", " the ", "</w>"]), max_size=30
).map("".join)


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizer()


def test_a_piece_is_made_once_and_only_short_ones_stay(monkeypatch):
    monkeypatch.setattr(remembered, "MOST_ENTRIES", 3)
    made = []
    known = Known(lambda piece: made.append(piece) or len(piece))
    long = "x" * (LONGEST + 1)
    assert [known[piece] for piece in ("a", "a", long, long, "b", "c", "d", "a")] == [1, 1, 41, 41, 1, 1, 1, 1]
    assert made == ["a", long, long, "b", "c", "d", "a"]
    assert set(known) == {"d", "a"}


def test_a_copy_remembers_nothing():
    known = Known(len)
    assert known["ab"] == 2
    for copied in (copy.deepcopy(known), pickle.loads(pickle.dumps(known))):
        assert not copied
        assert copied["abc"] == 3


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
@given(text=MIXED)
@settings(max_examples=80, deadline=None)
def test_pieces_are_those_of_the_clean_text(text, clean):
    assert [piece for piece in clean_pieces(text, clean) if piece] == clean_text(text, clean).split()


@given(text=MIXED)
@example("The cat's 12 CATS")
@settings(max_examples=150, deadline=None)
def test_ids_by_pieces_are_those_of_the_whole_text(tokenizer, text):
    whole = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == whole
    assert tokenizer([text, text], add_special_tokens=False)["input_ids"] == [whole, whole]
