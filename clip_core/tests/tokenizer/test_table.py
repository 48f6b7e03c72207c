"""A token table gives each added token an id and says when it changed."""

import pytest

from clip_core.errors import CheckpointFormatError, InputError
from clip_core.tokenizer.table import AddedToken, TokenTable, known_id


def test_added_tokens_follow_the_vocabulary():
    table = TokenTable({"a": 0, "b": 4})
    before = table.added
    assert table.add([AddedToken(content="<x>"), AddedToken(content="a"), AddedToken(content="<x>")]) == 1
    assert (table.id_of("<x>"), table.token_of(5), len(table), table.vocab_size) == (5, "<x>", 3, 2)
    assert list(table.added) == [0, 5]
    assert before == {}  # a new dict, so that what was made of the old one can be told to be old
    assert table.vocabulary == {"a": 0, "b": 4}


def test_saved_tokens_keep_their_ids_or_are_refused():
    table = TokenTable({"a": 0})
    table.restore({7: AddedToken(content="<x>")})
    assert table.ids == {"a": 0, "<x>": 7}
    with pytest.raises(CheckpointFormatError, match="expected id 7 to be free for the added token '<y>', it is '<x>'"):
        table.restore({7: AddedToken(content="<y>")})


def test_what_is_unknown_has_the_id_of_the_unknown_token():
    table = TokenTable({"a": 0, "?": 1})
    assert (known_id(table.id_of, "a", "?"), known_id(table.id_of, "b", "?")) == (0, 1)
    with pytest.raises(InputError, match="'b' is not in the vocabulary, and neither is the unknown token '!'"):
        known_id(table.id_of, "b", "!")
