"""Both tokenizers against transformers 4.57, whose slow tokenizer with ftfy is nearly OpenAI's."""

import json
import random

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.fast import CLIPTokenizerFast
from conformance_tests.parity.compare_tokenizers import compare_calls
from conformance_tests.parity.tokenizer_sources import random_strings

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
PAIRS = [
    (CLIPTokenizer, transformers.CLIPTokenizer),
    (CLIPTokenizerFast, transformers.CLIPTokenizerFast),
]


@pytest.fixture(scope="module", params=PAIRS, ids=["slow", "fast"])
def pair(request, tmp_path_factory):
    """Our tokenizer, and transformers' own, loaded from what ours saved."""
    ours = request.param[0]()
    directory = tmp_path_factory.mktemp("saved")
    ours.save_pretrained(directory)
    return ours, request.param[1].from_pretrained(directory)


def test_random_strings_get_the_same_ids_and_decode_the_same(pair):
    ours, theirs = pair
    # Where there is a "<", transformers' slow tokenizer is not OpenAI's: it leaves HTML entities as they are, and looks
    # for special tokens before it splits the text into words.
    strings = [text for text in random_strings(1500, random.Random(3)) if "<" not in text]
    ids = [theirs.encode(text) for text in strings]
    assert [ours.encode(text) for text in strings] == ids
    assert [ours.decode(row) for row in ids] == [theirs.decode(row) for row in ids]
    assert ours.batch_decode(ids, True, True) == theirs.batch_decode(ids, True, True)


@given(text=texts)
@settings(deadline=None)
def test_any_text_gets_the_same_tokens(pair, text):
    ours, theirs = pair
    assert ours.tokenize(text) == theirs.tokenize(text)


def test_the_same_attributes(pair):
    ours, theirs = pair
    for name in (
        *("bos_token", "eos_token", "unk_token", "pad_token", "bos_token_id", "eos_token_id", "unk_token_id"),
        *("pad_token_id", "all_special_tokens", "all_special_ids", "model_max_length", "model_input_names"),
        *("padding_side", "truncation_side", "vocab_size", "is_fast", "pad_token_type_id", "special_tokens_map"),
        *("added_tokens_encoder", "clean_up_tokenization_spaces", "additional_special_tokens"),
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()
    assert ours.get_added_vocab() == theirs.get_added_vocab()
    assert ours.convert_tokens_to_ids(["my", "my</w>", "??"]) == theirs.convert_tokens_to_ids(["my", "my</w>", "??"])
    assert ours.convert_tokens_to_string(["a</w>", "é"]) == theirs.convert_tokens_to_string(["a</w>", "é"])
    ids = [49406, 320, 49407]
    assert ours.get_special_tokens_mask(ids, already_has_special_tokens=True) == [1, 0, 1]
    assert ours.build_inputs_with_special_tokens([5], [6]) == theirs.build_inputs_with_special_tokens([5], [6])


def test_added_tokens_get_the_same_ids(tmp_path):
    for ours_kind, theirs_kind in PAIRS:
        ours = ours_kind()
        ours.add_tokens(["<Cat*>", "zebra crossing"])
        ours.add_special_tokens({"additional_special_tokens": ["<new>"]})
        ours.save_pretrained(tmp_path / ours_kind.__name__)
        theirs = theirs_kind.from_pretrained(tmp_path / ours_kind.__name__)
        for text in ("a <Cat*> on a zebra crossing", "<new><new> zebra", "x<Cat*>y"):
            assert ours.encode(text) == theirs.encode(text), text
            assert ours.decode(ours.encode(text)) == theirs.decode(theirs.encode(text)), text
        assert len(ours) == len(theirs)


def test_files_are_those_that_transformers_writes(pair, tmp_path):
    ours, theirs = pair
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    tables = ["vocab.json", "merges.txt"] + (["tokenizer.json"] if ours.is_fast else [])
    for name in tables:
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes(), name
    mine, upstream = (json.loads((tmp_path / who / "tokenizer_config.json").read_text()) for who in ("ours", "theirs"))
    assert upstream.pop("extra_special_tokens") == {}  # of other models
    assert {name: mine.get(name) for name in upstream} == upstream
    assert type(ours).from_pretrained(tmp_path / "theirs").encode("a cat") == theirs.encode("a cat")


def test_a_sample_of_the_calls_answers_alike(pair):
    ours, theirs = pair
    assert compare_calls("sample", theirs, ours, every=53) == 0
