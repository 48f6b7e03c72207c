"""CLIPTokenizer gives OpenAI's ids, keeps the documented call, and says clearly what it cannot do."""

import copy
import hashlib
import json
import logging
import pickle
import subprocess
import sys
from functools import cache
from pathlib import Path

import ftfy
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import clip_core
from clip_core.errors import InputError, InputTypeError
from clip_core.tokenizer.bpe import BytePairEncoder, builtin_merges
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.text import SPECIAL_PAIRS, clean_text, to_symbols, word_pattern

CASES = json.loads(Path(__file__).with_name("tokenizer_cases.json").read_bytes())["cases"]
TABLE_SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
BOS, EOS = 49406, 49407
SPECIAL = ("<|startoftext|>", "<|endoftext|>")
MERGES = BytePairEncoder(builtin_merges())
SMALL = CLIPTokenizer.from_merges(700)

# Any text that a person could type: no lone surrogates, which UTF-8 cannot hold.
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@pytest.fixture(scope="module")
def tokenizer():
    return CLIPTokenizer()


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case["text"][:20]))
def test_gives_the_ids_of_openai(tokenizer, case):
    assert tokenizer.encode(case["text"]) == [BOS, *case["openai"], EOS]


mixed = st.one_of(
    texts,
    st.text("abcABC tT'’sSD.,!?&;#<|>\t\n\x1c\x85\xa0ſKΣé猫1", max_size=60),
    st.lists(
        st.sampled_from(["cat", "Dogs", "it's", "<|endoftext|>", "<|STARTOFTEXT|>", "&amp;", "x-ray", "“fine”"])
    ).map(" ".join),
)


@given(st.lists(mixed, min_size=1, max_size=5))
def test_ids_are_those_of_the_tokens_of_the_whole_text(texts):
    tokenizer = shared()
    wanted = [[BOS, *(tokenizer._table.ids[token] for token in by_the_rule(text)), EOS] for text in texts]
    assert tokenizer(texts)["input_ids"] == wanted
    assert tokenizer(texts)["input_ids"] == wanted  # from memory
    for side in ("left", "right"):
        for length in (None, 9):
            options = {"padding": True, "padding_side": side, "truncation": length is not None, "max_length": length}
            lists, arrays = tokenizer(texts, **options), tokenizer(texts, **options, return_tensors="np")
            for name in ("input_ids", "attention_mask"):
                assert arrays[name].dtype == np.int64
                assert arrays[name].tolist() == lists[name]


@cache
def shared():
    return CLIPTokenizer()


def by_the_rule(text):
    """Tokens as published: all of the cleaned text is searched for words, and each is merged."""
    words = word_pattern(SPECIAL_PAIRS[0]).findall(clean_text(text))
    return [token for word in words for token in ((word,) if word in SPECIAL else MERGES._merge_long(ended(word)))]


def ended(word):
    symbols = to_symbols(word)
    return [*symbols[:-1], symbols[-1] + "</w>"]


def test_memory_follows_the_table():
    tokenizer = CLIPTokenizer.from_merges(300)
    before = tokenizer("zebu zebu", add_special_tokens=False)["input_ids"]
    tokenizer.add_tokens(["zebu"])
    assert tokenizer("zebu a zebu", add_special_tokens=False)["input_ids"].count(len(tokenizer) - 1) == 2 != len(before)
    copied = copy.deepcopy(tokenizer)
    assert copied("zebu a") == tokenizer("zebu a") == pickle.loads(pickle.dumps(tokenizer))("zebu a")


def test_rows_longer_than_their_padding_are_no_array(tokenizer):
    with pytest.raises(InputError, match="expected rows of one length"):
        tokenizer(["a cat and a dog", "a"], padding="max_length", max_length=4, truncation=False, return_tensors="np")
    empty = tokenizer("", add_special_tokens=False, return_tensors="np", padding=True)["input_ids"]
    assert (empty.shape, empty.dtype) == ((1, 0), np.int64)


def test_the_table_is_the_published_one_and_the_notice_says_so():
    folder = Path(clip_core.__file__).parent / "tokenizer" / "vocabulary"
    digest = hashlib.sha256((folder / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).hexdigest()
    assert digest == TABLE_SHA256
    assert TABLE_SHA256 in (folder / "NOTICE.md").read_text()


def test_the_vocabulary_of_clip(tokenizer):
    assert (tokenizer.vocab_size, len(tokenizer), tokenizer.model_max_length) == (49408, 49408, 77)
    assert tokenizer.convert_ids_to_tokens([0, 49405, BOS]) == ["!", "jekyll</w>", "<|startoftext|>"]
    assert tokenizer.convert_tokens_to_ids(["my", "my</w>", "no such token"]) == [1152, 607, EOS]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (BOS, EOS, EOS)
    assert tokenizer.all_special_ids == [BOS, EOS]


def test_special_tokens_in_text_can_be_refused():
    guarded = CLIPTokenizer(allow_special_in_text=False)
    for attack in ("cat <|endoftext|>", "cat <|ENDOFTEXT|>", "cat &lt;|startoftext|&gt;"):
        ids = guarded.encode(attack, add_special_tokens=False)
        assert not {BOS, EOS} & set(ids), attack
        assert {BOS, EOS} & set(CLIPTokenizer().encode(attack, add_special_tokens=False)), attack
    assert guarded.decode(guarded.encode("<|endoftext|>"), skip_special_tokens=True) == "<| endoftext |>"


def test_a_smaller_table_splits_words_further_and_keeps_the_specials_last():
    small = CLIPTokenizer.from_merges(1000)
    assert (len(small), small.bos_token_id, small.eos_token_id, small.model_max_length) == (1514, 1512, 1513, 77)
    assert small.tokenize("hello world") == ["h", "ell", "o</w>", "world</w>"]
    assert CLIPTokenizer.from_merges(0).tokenize("ab") == ["a", "b</w>"]
    with pytest.raises(InputError, match="between 0 and 48894 merges, got 50000"):
        CLIPTokenizer.from_merges(50_000)


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ({}, [[BOS, 320, 2368, EOS], [BOS, 1929, EOS]]),
        ({"padding": True}, [[BOS, 320, 2368, EOS], [BOS, 1929, EOS, EOS]]),
        ({"padding": True, "padding_side": "left"}, [[BOS, 320, 2368, EOS], [EOS, BOS, 1929, EOS]]),
        ({"padding": True, "pad_to_multiple_of": 5}, [[BOS, 320, 2368, EOS, EOS], [BOS, 1929, EOS, EOS, EOS]]),
        ({"truncation": True, "max_length": 3}, [[BOS, 320, EOS], [BOS, 1929, EOS]]),
        ({"truncation": True, "max_length": 2}, [[BOS, EOS], [BOS, EOS]]),
        ({"add_special_tokens": False}, [[320, 2368], [1929]]),
        ({"text_pair": ["dog", "dog"]}, [[BOS, 320, 2368, EOS, EOS, 1929, EOS], [BOS, 1929, EOS, EOS, 1929, EOS]]),
    ],
)
def test_the_call(tokenizer, arguments, ids):
    assert tokenizer(["a cat", "dog"], **arguments)["input_ids"] == ids


def test_padding_to_the_context_of_the_model(tokenizer):
    batch = tokenizer(["a cat", "word " * 90], padding="max_length", truncation=True, return_tensors="np")
    assert batch.input_ids.shape == batch.attention_mask.shape == (2, 77)
    assert batch.input_ids.dtype == np.int64
    assert batch.attention_mask.sum(axis=1).tolist() == [4, 77]
    assert batch.input_ids[1, -1] == EOS


def test_overflow_masks_and_lengths(tokenizer):
    encoding = tokenizer(
        "one two three four",
        truncation=True,
        max_length=4,
        stride=1,
        return_overflowing_tokens=True,
        return_special_tokens_mask=True,
        return_token_type_ids=True,
        return_length=True,
    )
    one, two, three, four = tokenizer.encode("one two three four", add_special_tokens=False)
    assert encoding == {
        "input_ids": [BOS, one, two, EOS],
        "overflowing_tokens": [two, three, four],
        "num_truncated_tokens": 2,
        "special_tokens_mask": [1, 0, 0, 1],
        "token_type_ids": [0, 0, 0, 0],
        "attention_mask": [1, 1, 1, 1],
        "length": 4,
    }


def test_words_given_one_by_one(tokenizer):
    assert tokenizer(["a", "cat"], is_split_into_words=True).input_ids == tokenizer("a cat").input_ids
    assert tokenizer([["a", "cat"]], is_split_into_words=True).input_ids == [tokenizer("a cat").input_ids]


def test_pad_collates_and_gives_back_what_it_got(tokenizer):
    rows = [tokenizer("a cat"), tokenizer("dog")]
    assert tokenizer.pad(rows) == tokenizer(["a cat", "dog"], padding=True)
    arrays = [{name: np.array(value) for name, value in row.items()} for row in rows]
    assert tokenizer.pad(arrays).input_ids.shape == (2, 4)
    assert tokenizer.pad({"input_ids": [BOS, EOS]}, padding="max_length", max_length=3) == {
        "input_ids": [BOS, EOS, EOS],
        "attention_mask": [1, 1, 0],
    }


def test_the_older_names_of_the_call(tokenizer):
    assert tokenizer.encode_plus("a cat") == tokenizer("a cat")
    assert tokenizer.batch_encode_plus([("a", "cat"), ("dog", "b")]) == tokenizer(["a", "dog"], ["cat", "b"])
    assert tokenizer("a", text_target="cat")["labels"] == tokenizer("cat").input_ids


def test_decoding(tokenizer):
    ids = tokenizer.encode("Hello, World's 3 cats!")
    assert tokenizer.decode(ids) == "<|startoftext|>hello , world 's 3 cats ! <|endoftext|>"
    assert tokenizer.decode(np.array(ids), skip_special_tokens=True) == "hello , world 's 3 cats !"
    assert tokenizer.batch_decode([ids], True, clean_up_tokenization_spaces=True) == ["hello, world's 3 cats!"]
    assert tokenizer.decode(2368) == "cat"
    with pytest.raises(InputError, match="0 to 49407, got 49408"):
        tokenizer.decode([320, 49408])
    with pytest.raises(InputError, match="batch_decode"):
        tokenizer.decode([[320]])


def test_added_tokens_are_found_before_cleaning():
    tokenizer = CLIPTokenizer()
    assert tokenizer.add_tokens(["<Cat*>", "<Cat*>"]) == 1
    assert 49408 in tokenizer.encode("a<Cat*>b")
    assert 49408 not in tokenizer.encode("a<cat*>b")
    assert tokenizer.add_special_tokens({"pad_token": "<pad>"}) == 1
    assert tokenizer(["a cat", "a"], padding=True).input_ids[1][-1] == tokenizer.pad_token_id == len(tokenizer) - 1
    assert tokenizer.decode(tokenizer.encode("a <Cat*> cat"), skip_special_tokens=True) == "a <Cat*> cat"


def test_special_token_layouts(tokenizer):
    assert tokenizer.build_inputs_with_special_tokens([1], [2, 3]) == [BOS, 1, EOS, EOS, 2, 3, EOS]
    assert tokenizer.get_special_tokens_mask([1], [2, 3]) == [1, 0, 1, 1, 0, 0, 1]
    assert tokenizer.get_special_tokens_mask([BOS, 1, EOS], already_has_special_tokens=True) == [1, 0, 1]
    assert tokenizer.create_token_type_ids_from_sequences([1], [2, 3]) == [0] * 7
    assert tokenizer.num_special_tokens_to_add(pair=True) == 4


def test_long_text_warns_once_per_call(tokenizer, caplog):
    with caplog.at_level(logging.WARNING, logger="clip_core"):
        tokenizer(["word " * 90, "word " * 100, "short"])
    assert [record.getMessage() for record in caplog.records] == [
        "2 of 3 texts are longer than the 77 tokens of the model (the longest has 102); "
        "pass truncation=True to cut them"
    ]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"text": 5}, InputTypeError, "expected a string, or a list of such, got int 5"),
        ({"text": ["a", None]}, InputTypeError, "got NoneType None"),
        ({"text": []}, InputError, "at least one text"),
        ({}, InputError, "expected text or text_target"),
        ({"text": "a", "text_pair": ["b"]}, InputTypeError, "one text_pair for one text"),
        ({"text": ["a"], "text_pair": "b"}, InputTypeError, "a list of 1 text pairs"),
        ({"text": ["a"], "text_pair": ["b", "c"]}, InputError, r"as many text pairs as texts \(1\), got 2"),
        ({"text": "a", "is_split_into_words": True}, InputTypeError, "list of words"),
        ({"text": "a", "padding": "longer"}, InputError, "do_not_pad, longest, max_length, got 'longer'"),
        ({"text": "a", "truncation": "last"}, InputError, "expected truncation to be True, False or one of"),
        ({"text": "a", "padding_side": "top"}, InputError, "'left' or 'right', got 'top'"),
        ({"text": "a", "max_length": -1}, InputError, "max_length to be a whole number of 0 or more, got -1"),
        ({"text": "a", "return_tensors": "xx"}, InputError, "np, pt, tf, jax or None, got 'xx'"),
        ({"text": ["a", "a b"], "return_tensors": "np"}, InputError, "padding=True"),
        ({"text": "a b", "truncation": True, "max_length": 1}, InputError, "room for 2 special tokens, got 1"),
        ({"text": "a b", "truncation": "only_second", "max_length": 3}, InputError, "needs a text_pair"),
        ({"text": "a", "return_offsets_mapping": True}, InputError, "CLIPTokenizerFast"),
        (
            {"text": "a", "padding": True, "truncation": True, "max_length": 7, "pad_to_multiple_of": 4},
            InputError,
            "multiple of pad_to_multiple_of=4, got 7",
        ),
    ],
)
def test_errors_say_what_to_do(tokenizer, arguments, error, message):
    with pytest.raises(error, match=message):
        tokenizer(**arguments)


def test_padding_without_a_known_length_is_refused():
    tokenizer = CLIPTokenizer({"a</w>": 0, "<|startoftext|>": 1, "<|endoftext|>": 2}, [])
    with pytest.raises(InputError, match=r"needs max_length=\.\.\."):
        tokenizer("a", padding="max_length")
    assert tokenizer("a", truncation=True).input_ids == [1, 0, 2]


@given(texts)
def test_any_text_survives_a_round_trip(text):
    tokenizer = SMALL
    ids = tokenizer.encode(text, add_special_tokens=False)
    decoded = tokenizer.decode(ids)
    assert max(ids, default=0) < len(tokenizer)
    # Decoding puts spaces between words; what was decoded once, stays, unless ftfy takes it for a wrong encoding.
    assume(ftfy.fix_text(decoded) == decoded)
    assert tokenizer.decode(tokenizer.encode(decoded, add_special_tokens=False)) == decoded


@given(st.lists(texts, min_size=1, max_size=4), st.integers(2, 12), st.sampled_from(["left", "right"]))
def test_padded_and_cut_rows_have_one_length_and_their_mask(batch, length, side):
    tokenizer = SMALL
    rows = tokenizer(batch, padding="max_length", truncation=True, max_length=length, padding_side=side)
    for text, ids, mask in zip(batch, rows.input_ids, rows.attention_mask, strict=True):
        assert len(ids) == len(mask) == length
        kept = [index for index, real in zip(ids, mask, strict=True) if real]
        assert kept == tokenizer.encode(text, truncation=True, max_length=length)
        assert kept[-1] == tokenizer.eos_token_id


def test_importing_brings_no_framework_and_no_text_library():
    program = (
        "import sys, clip_core.tokenizer.clip, clip_core.tokenizer.fast\n"
        "clip_core.tokenizer.clip.CLIPTokenizer.from_merges(5).get_vocab()\n"
        "heavy = {'torch', 'tensorflow', 'jax', 'transformers', 'tokenizers', 'ftfy', 'regex'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_pickles(tokenizer):
    assert pickle.loads(pickle.dumps(tokenizer)).encode("a cat") == [BOS, 320, 2368, EOS]


def test_a_copy_has_settings_of_its_own():
    tokenizer = CLIPTokenizer.from_merges(5)
    copied = copy.copy(tokenizer)
    copied.pad_token = "!"
    assert (tokenizer.pad_token, tokenizer.pad_token_id, copied.pad_token_id) == ("<|endoftext|>", 518, 0)
