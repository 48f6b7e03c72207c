"""CLIPTokenizerFast gives transformers' fast ids, with offsets, overflow rows and clear errors."""

import builtins
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from clip_core.errors import CheckpointFormatError, InputError, MissingExtraError
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.fast import CLIPTokenizerFast

CASES = json.loads(Path(__file__).with_name("tokenizer_cases.json").read_bytes())["cases"]
BOS, EOS = 49406, 49407


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizerFast()


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"][:20]))
def test_gives_the_fast_ids_of_transformers(tokenizer, case):
    assert tokenizer.encode(case["text"]) == [BOS, *case["fast"], EOS]


def test_shares_its_table_with_the_tokenizer_of_record(tokenizer):
    assert tokenizer.get_vocab() == CLIPTokenizer().get_vocab()
    assert (len(tokenizer), tokenizer.vocab_size, tokenizer.model_max_length) == (49408, 49408, 77)
    assert len(CLIPTokenizerFast.from_merges(1000)) == 1514


def test_offsets_point_into_the_text(tokenizer):
    text = "Naïve photo, 2 cats"
    encoding = tokenizer(text, return_offsets_mapping=True)
    words = [text[start:end] for start, end in encoding["offset_mapping"]]
    assert words == ["", "Na", "ï", "ve", "photo", ",", "2", "cats", ""]
    assert len(words) == len(encoding["input_ids"])


def test_overflow_becomes_further_rows(tokenizer):
    one, two, three = tokenizer.encode("one two three", add_special_tokens=False)
    encoding = tokenizer(
        ["one two three", "one"], truncation=True, max_length=4, stride=1, return_overflowing_tokens=True
    )
    assert encoding["input_ids"] == [[BOS, one, two, EOS], [BOS, two, three, EOS], [BOS, one, EOS]]
    assert encoding["overflow_to_sample_mapping"] == [0, 0, 1]


def test_special_tokens_in_text_can_be_refused(tokenizer):
    guarded = CLIPTokenizerFast(allow_special_in_text=False)
    for attack in ("cat <|endoftext|>", "cat <|ENDOFTEXT|>"):
        assert EOS not in guarded.encode(attack, add_special_tokens=False)
        assert EOS in tokenizer.encode(attack, add_special_tokens=False)


def test_decodes_as_the_tokenizer_of_record(tokenizer):
    ids = tokenizer.encode("Hello, World's 3 cats!")
    for skip in (True, False):
        assert tokenizer.decode(ids, skip_special_tokens=skip) == CLIPTokenizer().decode(ids, skip_special_tokens=skip)
    with pytest.raises(InputError, match="0 to 49407, got 60000"):
        tokenizer.decode([60_000])


def test_settings_of_one_call_do_not_reach_another(tokenizer):
    assert len(tokenizer("a b c", truncation=True, max_length=3, padding="max_length").input_ids) == 3
    assert tokenizer.tokenize("a b c") == ["a</w>", "b</w>", "c</w>"]
    assert len(tokenizer("a b c").input_ids) == 5


def test_threads_may_share_it(tokenizer):
    def encode(length):
        return {
            len(row)
            for _ in range(30)
            for row in tokenizer(["a b c d e f"], truncation=True, max_length=length).input_ids
        }

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(encode, [3, 4, 5, 6])) == [{3}, {4}, {5}, {6}]


def test_pickles(tokenizer):
    assert pickle.loads(pickle.dumps(tokenizer)).encode("a cat") == [BOS, 320, 2368, EOS]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "a b c d e f", "truncation": True, "max_length": 5, "stride": 3}, "stride"),
        ({"text": "a b c", "truncation": True, "max_length": 5, "stride": 9}, "stride"),
        ({"text": "a b c", "truncation": "only_second", "max_length": 4}, "Second sequence not provided"),
        ({"text": "a\ud800b"}, "cannot be encoded"),
    ],
)
def test_refusals_of_the_rust_library_become_ours(tokenizer, arguments, message):
    with pytest.raises(InputError, match=message):
        tokenizer(**arguments)


def test_the_missing_extra_is_named(monkeypatch):
    original = builtins.__import__

    def without_tokenizers(name, *rest):
        if name.partition(".")[0] == "tokenizers":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_tokenizers)
    with pytest.raises(MissingExtraError, match=r"pip install 'triclip\[fast\]'"):
        CLIPTokenizerFast()


def test_a_tokenizer_json_of_the_old_form_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer.json"
    state = json.loads(path.read_text())
    state["pre_tokenizer"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    path.write_text(json.dumps(state))
    with pytest.raises(CheckpointFormatError, match=r"older than transformers 4\.17"):
        CLIPTokenizerFast.from_pretrained(tmp_path)
