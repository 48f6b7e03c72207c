"""Merging follows the published rule, and damaged tables are refused by file and line."""

import copy
import json
import pickle
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError
from clip_core.tokenizer.bpe import (
    _CLIP_DIGEST,
    BytePairEncoder,
    builtin_merges,
    builtin_table,
    digest_of,
    merges_text,
    read_merges,
    read_vocabulary,
    vocabulary_json,
)
from clip_core.tokenizer.text import to_symbols


def test_the_builtin_table_has_one_id_per_token():
    vocabulary, merges = builtin_table()
    assert len(merges) == 48_894
    assert len(vocabulary) == 49_408
    assert sorted(vocabulary.values()) == list(range(49_408))


@st.composite
def tables(draw):
    """Merges over three letters, in any order: also orders that training would never give."""
    symbols = ["a", "b", "c", "a</w>", "b</w>", "c</w>"]
    merges = []
    for _ in range(draw(st.integers(0, 8))):
        first = draw(st.sampled_from([symbol for symbol in symbols if not symbol.endswith("</w>")]))
        merge = (first, draw(st.sampled_from(symbols)))
        if merge not in merges:
            merges.append(merge)
            symbols.append("".join(merge))
    return draw(st.permutations(merges))


def merge_slowly(word, merges):
    """Apply the best pair everywhere, one position at a time."""
    symbols = [*word[:-1], word[-1] + "</w>"]
    while True:
        present = [merge for merge in merges if merge in set(pairwise(symbols))]
        if not present:
            return tuple(symbols)
        position = 0
        while position + 1 < len(symbols):
            if (symbols[position], symbols[position + 1]) == present[0]:
                symbols[position : position + 2] = ["".join(present[0])]
            position += 1


@given(tables(), st.text("abc", min_size=1, max_size=12))
def test_merges_in_order_of_rank_from_the_left(merges, word):
    encoder = BytePairEncoder(merges)
    assert encoder.split(word) == merge_slowly(word, merges)
    assert encoder.split(word) == merge_slowly(word, merges)  # from memory
    assert encoder._merge_long([*word[:-1], word[-1] + "</w>"]) == merge_slowly(word, merges)


@given(st.text("etaoinshrd'!é猫", min_size=1, max_size=60))
def test_long_and_short_words_merge_alike(word):
    encoder = whole_encoder()
    symbols = to_symbols(word)
    symbols = [*symbols[:-1], symbols[-1] + "</w>"]
    assert encoder._merge_short(list(symbols)) == encoder._merge_long(list(symbols)) == encoder.split(word)


@cache
def whole_encoder():
    return BytePairEncoder(builtin_merges())


def test_a_word_that_is_a_token_of_clip_becomes_that_token():
    encoder = whole_encoder()
    assert digest_of(builtin_merges()) == _CLIP_DIGEST
    assert len(encoder.whole) > 34_000
    for token in encoder.whole:
        symbols = token.removesuffix("</w>")
        assert encoder.merge([*symbols[:-1], symbols[-1] + "</w>"]) == (token,)


def test_with_other_merges_no_word_is_taken_for_a_token():
    merges = [("b", "c</w>"), *builtin_merges()[1:]]
    assert not BytePairEncoder(merges).whole
    assert not BytePairEncoder(builtin_merges()[:-1]).whole
    encoder = BytePairEncoder([("a", "b"), ("b", "c</w>"), ("a", "bc</w>")])  # its token "abc</w>" is never made
    assert encoder.split("abc") == ("ab", "c</w>")


def test_forgets_words_rather_than_grow(monkeypatch):
    monkeypatch.setattr("clip_core.tokenizer.remembered.MOST_ENTRIES", 3)
    encoder = BytePairEncoder(builtin_merges()[:100])
    for word in ("the", "then", "them", "theme", "the", "x" * 41):
        assert "".join(encoder.split(word)) == word + "</w>"
    assert 0 < len(encoder._seen.values) <= 3
    assert "x" * 41 not in encoder._seen.values
    assert not copy.deepcopy(encoder)._seen.values
    assert not pickle.loads(pickle.dumps(encoder))._seen.values


@pytest.fixture
def table(tmp_path):
    vocabulary, merges = builtin_table(60)
    (tmp_path / "vocab.json").write_text(vocabulary_json(vocabulary), encoding="utf-8")
    (tmp_path / "merges.txt").write_text(merges_text(merges), encoding="utf-8")
    return tmp_path


def test_files_give_back_the_table(table):
    vocabulary = read_vocabulary(table / "vocab.json")
    assert (vocabulary, read_merges(table / "merges.txt", vocabulary)) == builtin_table(60)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text.replace("t h\n", "th\n"), "merges.txt, line 3: expected two symbols, got 'th'"),
        (lambda text: text.replace("t h\n", "t h x\n"), "merges.txt, line 3: expected two symbols"),
        (lambda text: text.replace("t h\n", "t ☃\n"), "line 3: 't ☃' makes a token that the vocabulary does not have"),
        (lambda text: "\n".join(text.split("\n")[:31]) + "\n", "line 32: expected the merge that makes"),
        (lambda text: "", "line 2: expected the merge that makes"),
        (lambda text: text + "\x00\x01\n", "line 62: expected two symbols"),
    ],
)
def test_damaged_merges_are_named(table, damage, message):
    path = table / "merges.txt"
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(CheckpointFormatError, match=message):
        read_merges(path, read_vocabulary(table / "vocab.json"))


@given(cut=st.floats(0.01, 0.99))
def test_a_vocabulary_cut_anywhere_is_refused(tmp_path_factory, cut):
    text = vocabulary_json(builtin_table(5)[0])
    path = tmp_path_factory.mktemp("cut") / "vocab.json"
    path.write_text(text[: int(len(text) * cut)], encoding="utf-8")
    with pytest.raises(CheckpointFormatError, match=r"vocab\.json: expected JSON"):
        read_vocabulary(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [({}, "one id of its own"), ({"a": 0, "b": 0}, "one id of its own"), ({"a": -1}, "0 or more"), ({"a": "0"}, "'0'")],
)
def test_a_vocabulary_needs_one_id_per_token(tmp_path, content, message):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(content))
    with pytest.raises(CheckpointFormatError, match=message):
        read_vocabulary(path)


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match=r"merges\.txt: no such file"):
        read_merges(tmp_path / "merges.txt", {})
    (tmp_path / "merges.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckpointFormatError, match="UTF-8"):
        read_merges(tmp_path / "merges.txt", {})
