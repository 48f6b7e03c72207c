import json
import shutil

import pytest

from clip_core.config import CLIPTextConfig
from clip_core.errors import CheckpointFormatError
from clip_core.tokenizer.bpe import builtin_table, merges_text, vocabulary_json
from clip_core.tokenizer.clip import CLIPTokenizer
from weights_convert import convert, verify
from weights_convert.company import problems_of
from weights_convert.tests import checkpoints

FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json")
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "</s>"}


def _fitting() -> dict[str, bytes]:
    """Files of a tokenizer and a preprocessor that fit the model of the tests, which knows 61 tokens."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{each}</w>" for each in letters + "0123456"), "<s>", "</s>"]
    contents = {
        "vocab.json": {token: index for index, token in enumerate(tokens)},
        "tokenizer_config.json": {**SPECIAL, "model_max_length": 11},
        "special_tokens_map.json": SPECIAL,
        "preprocessor_config.json": {"size": 28, "crop_size": 28},
    }
    return {"merges.txt": b"#version: 0.2\n", **{name: json.dumps(each).encode() for name, each in contents.items()}}


@pytest.fixture
def directory(source, tmp_path):
    shutil.copytree(source, tmp_path / "in")
    for name, content in _fitting().items():
        (tmp_path / "in" / name).write_bytes(content)
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def _without_frameworks(monkeypatch):
    monkeypatch.setattr("clip_core.backends.find_spec", lambda name: None)


def test_files_that_fit_are_well(directory):
    assert verify(directory).problems == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"\0" * 100])
def test_a_damaged_file_is_found_by_verify_and_not_converted(directory, tmp_path, name, content):
    if name == "merges.txt" and content != b"\xff\xfe":
        content = b"#version: 0.2\na b c\n"
    (directory / name).write_bytes(content)
    (problem,) = verify(directory).problems
    assert name in problem
    with pytest.raises(CheckpointFormatError, match=name):
        convert(directory, tmp_path / "out", to="hf")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("gone", ["vocab.json", "merges.txt"])
def test_half_a_table_is_found(directory, tmp_path, gone):
    (directory / gone).unlink()
    assert gone in verify(directory).problems[0]
    with pytest.raises(CheckpointFormatError, match=gone):
        convert(directory, tmp_path / "out", to="hf")


def test_merges_that_are_cut_are_found():
    vocabulary, merges = builtin_table(30)
    files = {"vocab.json": vocabulary_json(vocabulary).encode(), "merges.txt": merges_text(merges[:-1]).encode()}
    (problem,) = problems_of(files, checkpoints.CONFIG)
    assert "the file is cut" in problem


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("preprocessor_config.json", {"size": 50, "crop_size": 50}, "pictures of 50x50 pixels, the model reads 28x28"),
        ("preprocessor_config.json", {"size": 28, "do_center_crop": False}, "makes pictures of no fixed size"),
        ("tokenizer_config.json", {**SPECIAL, "model_max_length": 77}, "cuts texts at 77 tokens, the model reads 11"),
        ("tokenizer_config.json", {**SPECIAL, "eos_token": "<s>"}, "ends texts with id 59, the model takes id 60"),
        ("tokenizer_config.json", {**SPECIAL, "pad_token": "<pad>"}, "ids up to 61, the model knows those below 61"),
        ("tokenizer_config.json", {"padding_side": "up"}, "padding_side"),
    ],
)
def test_what_does_not_fit_the_model_is_found(directory, name, content, expected):
    (directory / name).write_text(json.dumps(content))
    problems = verify(directory).problems
    assert any(expected in problem for problem in problems), problems


def test_two_tables_that_differ_are_found(directory):
    table = {"vocab": json.loads(_fitting()["vocab.json"]), "merges": []}
    (directory / "tokenizer.json").write_text(json.dumps({"model": table}))
    assert verify(directory).problems == []
    swapped = {**table["vocab"], "a": 1, "b": 0}
    (directory / "tokenizer.json").write_text(json.dumps({"model": {**table, "vocab": swapped}}))
    (problem,) = verify(directory).problems
    assert "tokenizer.json and vocab.json give the same texts different ids" in problem


def test_a_tokenizer_of_another_kind_is_not_judged():
    files = {"tokenizer.json": json.dumps({"model": {"type": "Unigram", "vocab": [["a", 0.5]]}}).encode()}
    assert problems_of(files, checkpoints.CONFIG) == []


@pytest.mark.parametrize("end", [2, 49407])
def test_clip_s_own_tokenizer_fits_its_models(tmp_path, end):
    CLIPTokenizer().save_pretrained(tmp_path)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert problems_of(files, CLIPTextConfig(eos_token_id=end)) == []
