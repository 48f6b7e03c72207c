"""open_clip's SimpleTokenizer by its own words, and the settings that make it."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_core.checkpoint.files import read_json
from clip_core.errors import CheckpointFormatError, InputError
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.fast import CLIPTokenizerFast
from clip_core.tokenizer.text import CLEANING, clean_text

CASES = read_json(Path(__file__).with_name("open_clip_cases.json"))
TOKENIZERS = {clean: CLIPTokenizer.from_open_clip(clean=clean) for clean in CLEANING}


@pytest.mark.parametrize("clean", CLEANING)
def test_ids_are_open_clip_s(clean):
    """Some texts of each kind, special strings among them; the script beside the goldens compares many."""
    texts = list(CASES["texts"])
    found = TOKENIZERS[clean](texts, add_special_tokens=False)["input_ids"]
    assert dict(zip(texts, found, strict=True)) == {text: ids[clean] for text, ids in CASES["texts"].items()}


@pytest.mark.parametrize("row", CASES["rows"], ids=lambda row: f"{row['context_length']} {row['clean']}")
def test_rows_are_what_open_clip_s_call_returns(row, tmp_path):
    """Cut at the context, ended by the end token, filled with 0; also once saved and loaded."""
    tokenizer = CLIPTokenizer.from_open_clip(row["context_length"], row["clean"])
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, CLIPTokenizer.from_pretrained(tmp_path)):
        assert each.model_max_length == row["context_length"]
        encoded = each(row["texts"], padding="max_length", truncation=True)
        assert encoded["input_ids"] == row["input_ids"]
        ends = [ids.index(each.eos_token_id) for ids in row["input_ids"]]
        assert [sum(mask) for mask in encoded["attention_mask"]] == [end + 1 for end in ends]


@given(st.text(string.printable + "_éΣß&’", max_size=30))
def test_canonical_text_has_no_punctuation_and_stays_as_it_is(text):
    clean = clean_text(text, "canonicalize")
    assert not set(clean) & set(string.punctuation)
    assert clean_text(clean, "canonicalize") == clean
    assert clean_text(text, "whitespace").lower() == clean_text(text)


def test_special_strings_of_open_clip_can_be_plain_text():
    plain = CLIPTokenizer.from_open_clip()
    assert plain.encode("<|endoftext|>", add_special_tokens=False) == CLIPTokenizer(allow_special_in_text=False).encode(
        "<|endoftext|>", add_special_tokens=False
    )
    vocabulary = plain.get_vocab()
    names = {"bos_token": "<start_of_text>", "eos_token": "<end_of_text>", "pad_token": "<end_of_text>"}
    shut = CLIPTokenizer(
        vocabulary, plain.merges, **names, unk_token="<end_of_text>", allow_special_in_text=False, pad_id=0
    )
    assert plain.encode("<end_of_text>", add_special_tokens=False) == [49407]
    assert 49407 not in shut.encode("<end_of_text>", add_special_tokens=False)


def test_a_filling_id_leaves_texts_alone_where_a_filling_token_does_not(tmp_path):
    """Stable Diffusion 2's tokenizer has "!" as its pad_token, and upstream, too, every "!" becomes 0."""
    by_id, by_token = CLIPTokenizer(pad_id=0), CLIPTokenizer(pad_token="!")
    assert by_id("a!", padding="max_length", max_length=5)["input_ids"] == [49406, 320, 256, 49407, 0]
    assert by_token("a!", padding="max_length", max_length=5)["input_ids"] == [49406, 320, 0, 49407, 0]
    by_id.save_pretrained(tmp_path)
    fast = CLIPTokenizerFast.from_pretrained(tmp_path)
    assert (fast.pad_id, fast.pad_token_id, fast.pad_token) == (0, 0, "<|endoftext|>")
    assert fast("a!", padding="max_length", max_length=5)["input_ids"] == [49406, 320, 256, 49407, 0]
    assert CLIPTokenizer.from_pretrained(tmp_path, pad_id=5).pad_token_id == 5
    by_id.pad_token = "<|endoftext|>"
    assert (by_id.pad_id, by_id.pad_token_id) == (None, 49407)


def test_settings_that_cannot_be_meant_are_refused(tmp_path):
    with pytest.raises(InputError, match="clean: expected one of 'lower', 'whitespace', 'canonicalize', got 'upper'"):
        CLIPTokenizer(clean="upper")
    with pytest.raises(InputError, match="pad_id: expected an id of the vocabulary, 0 to 49407, got 49408"):
        CLIPTokenizer(pad_id=49408)
    with pytest.raises(InputError, match="pad_id: expected an id of the vocabulary, 0 to 49407, got '0'"):
        CLIPTokenizer(pad_id="0")
    with pytest.raises(InputError, match="got -1"):
        CLIPTokenizerFast(pad_id=-1)
    with pytest.raises(InputError, match="clean='whitespace' needs CLIPTokenizer"):
        CLIPTokenizerFast(clean="whitespace")
    CLIPTokenizer.from_open_clip(clean="canonicalize").save_pretrained(tmp_path)
    with pytest.raises(InputError, match="clean='canonicalize' needs CLIPTokenizer"):
        CLIPTokenizerFast.from_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(path.read_text().replace('"pad_id": 0', '"pad_id": "0"'))
    with pytest.raises(CheckpointFormatError, match="expected pad_id to be like None, got '0'"):
        CLIPTokenizer.from_pretrained(tmp_path)


def test_files_of_the_default_are_as_ever(tmp_path):
    CLIPTokenizer().save_pretrained(tmp_path)
    assert not {"clean", "pad_id"} & read_json(tmp_path / "tokenizer_config.json").keys()
