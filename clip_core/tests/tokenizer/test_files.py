"""A saved tokenizer comes back the same, from every layout that transformers has written."""

import json

import pytest

from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, InputError
from clip_core.tokenizer.bpe import builtin_table
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.fast import CLIPTokenizerFast
from clip_core.tokenizer.files import read_settings
from clip_core.tokenizer.table import AddedToken

CLASSES = [CLIPTokenizer, CLIPTokenizerFast]
TEXT = "It's a <Cat*> & 2 photos <|endoftext|> <new>"


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize("kind", CLASSES)
def test_everything_survives_saving_and_loading(kind, tmp_path):
    tokenizer = kind(
        *builtin_table(500),
        pad_token="!",
        model_max_length=19,
        padding_side="left",
        truncation_side="left",
        clean_up_tokenization_spaces=True,
        allow_special_in_text=False,
        additional_special_tokens=["<new>"],
    )
    tokenizer.add_tokens(["<Cat*>"])
    paths = tokenizer.save_pretrained(tmp_path / "saved")
    assert {"vocab.json", "merges.txt", "tokenizer_config.json"} <= {path.rpartition("/")[2] for path in paths}
    loaded = kind.from_pretrained(tmp_path / "saved")
    for name in ("pad_token", "model_max_length", "padding_side", "truncation_side", "clean_up_tokenization_spaces"):
        assert getattr(loaded, name) == getattr(tokenizer, name), name
    assert loaded.allow_special_in_text is False
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.added_tokens_decoder == tokenizer.added_tokens_decoder
    assert loaded(TEXT, padding="max_length") == tokenizer(TEXT, padding="max_length")


@pytest.mark.parametrize("kind", CLASSES)
def test_each_class_reads_what_the_other_wrote(kind, tmp_path):
    for writer in CLASSES:
        tokenizer = writer.from_merges(77)
        tokenizer.add_tokens(["<Cat*>"])
        tokenizer.save_pretrained(tmp_path)
        assert kind.from_pretrained(tmp_path).encode("a <Cat*>") == tokenizer.encode("a <Cat*>")


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("as_strings", [True, False])
def test_a_tokenizer_json_alone_is_enough(kind, as_strings, tmp_path):
    original = CLIPTokenizerFast.from_merges(77)
    original.add_tokens(["<Cat*>"])
    original.save_pretrained(tmp_path)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).unlink()
    if as_strings:
        state = json.loads((tmp_path / "tokenizer.json").read_text())
        state["model"]["merges"] = [" ".join(merge) for merge in state["model"]["merges"]]
        (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    loaded = kind.from_pretrained(tmp_path)
    assert loaded.get_vocab() == original.get_vocab()
    assert loaded.encode("another <Cat*>") == original.encode("another <Cat*>")


def test_arguments_win_over_files(tmp_path):
    CLIPTokenizer().save_pretrained(tmp_path)
    loaded = CLIPTokenizer.from_pretrained(tmp_path, pad_token="!", model_max_length=5, allow_special_in_text=False)
    assert (loaded.pad_token_id, loaded.model_max_length, loaded.allow_special_in_text) == (0, 5, False)
    assert loaded("cat", padding="max_length").input_ids == [49406, 2368, 49407, 0, 0]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_directory_that_is_known_is_not_looked_up_again(kind, tmp_path, monkeypatch):
    kind.from_merges(77).save_pretrained(tmp_path)
    monkeypatch.delattr("clip_core.loading_options.resolve_checkpoint")
    loaded = kind.from_directory(tmp_path, {"model_max_length": 5})
    assert (len(loaded), loaded.model_max_length) == (591, 5)
    with pytest.raises(CheckpointNotFoundError, match=r"vocab\.json: no such file"):
        kind.from_directory(tmp_path / "elsewhere")


def test_settings_of_older_checkpoints(tmp_path):
    CLIPTokenizer.from_merges(3).save_vocabulary(tmp_path)
    entry = {"__type": "AddedToken", "content": "<|endoftext|>", "lstrip": False, "normalized": True}
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": entry, "do_lower_case": True, "model_max_length": 1e30, "add_prefix_space": False})
    )
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": entry | {"content": "<|startoftext|>"}}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<Cat*>": 517}))
    settings, added = read_settings(tmp_path)
    assert (settings.bos_token, settings.eos_token) == ("<|startoftext|>", "<|endoftext|>")
    assert added == {517: AddedToken(content="<Cat*>")}
    assert CLIPTokenizer.from_pretrained(tmp_path).encode("<Cat*>") == [515, 517, 516]


def test_a_vocabulary_that_lacks_the_special_tokens_gets_them():
    for kind in CLASSES:
        tokenizer = kind({"a": 0, "a</w>": 1}, [], bos_token="<s>", eos_token="</s>", unk_token="</s>", pad_token="<p>")
        assert (tokenizer.vocab_size, len(tokenizer)) == (2, 5)
        assert tokenizer.encode("a") == [tokenizer.bos_token_id, 1, tokenizer.eos_token_id]


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_max_length": "long"}, "expected model_max_length to be like"),
        ({"padding_side": 3}, "expected padding_side"),
        ({"added_tokens_decoder": {"x": {"content": "y"}}}, "expected the settings of a tokenizer"),
        ({"added_tokens_decoder": {"7": {"content": "<taken>"}}}, "expected"),
        ({"eos_token": {"no": "content"}}, "expected the settings of a tokenizer"),
    ],
)
def test_bad_settings_are_refused(kind, changes, message, tmp_path):
    kind.from_merges(3).save_pretrained(tmp_path)
    edit(tmp_path / "tokenizer_config.json", **changes)
    with pytest.raises(CheckpointFormatError, match=message):
        kind.from_pretrained(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json", "vocab.json", "tokenizer.json"])
def test_a_cut_file_is_named(name, tmp_path):
    CLIPTokenizerFast.from_merges(3).save_pretrained(tmp_path)
    path = tmp_path / name
    path.write_text(path.read_text()[:-9])
    kind = CLIPTokenizerFast if name == "tokenizer.json" else CLIPTokenizer
    with pytest.raises(CheckpointFormatError, match=name):
        kind.from_pretrained(tmp_path)


def test_a_directory_without_a_tokenizer(tmp_path):
    for kind in CLASSES:
        with pytest.raises(CheckpointNotFoundError, match=r"vocab\.json: no such file"):
            kind.from_pretrained(tmp_path)
    CLIPTokenizer.from_merges(3).save_vocabulary(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(CheckpointNotFoundError, match=r"merges\.txt"):
        CLIPTokenizer.from_pretrained(tmp_path)


def test_one_file_of_two_is_refused():
    with pytest.raises(InputError, match="vocab_file and merges_file together"):
        CLIPTokenizer({"a": 0})


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    CLIPTokenizer.from_merges(3).save_pretrained(tmp_path)
    before = (tmp_path / "vocab.json").read_bytes()

    def killed(source, target):
        raise OSError("killed")

    monkeypatch.setattr("os.replace", killed)
    with pytest.raises(OSError, match="killed"):
        CLIPTokenizer.from_merges(4).save_vocabulary(tmp_path)
    assert (tmp_path / "vocab.json").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tokenizer_config.json", {"model_max_length": float("inf")}),
        ("tokenizer_config.json", {"model_max_length": float("nan")}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"700": {"content": 0.5}}}),
        ("tokenizer_config.json", {"added_tokens_decoder": {"-1": {"content": "a"}}}),
        ("tokenizer_config.json", {"pad_token": {"content": ["a"]}}),
        ("special_tokens_map.json", {"additional_special_tokens": [{"content": 3}]}),
        ("added_tokens.json", {"<new>": "700"}),
        ("tokenizer.json", {"model": {"vocab": {"a": 0}, "merges": 3}}),
        ("tokenizer.json", {"model": {"vocab": {"a": 0}, "merges": [3]}}),
    ],
)
def test_settings_of_another_kind_are_refused(tmp_path, name, changes):
    CLIPTokenizer.from_merges(77).save_pretrained(tmp_path)
    if name == "tokenizer.json":
        (tmp_path / "vocab.json").unlink()
    elif name != "tokenizer_config.json":
        (tmp_path / "tokenizer_config.json").unlink()
    (tmp_path / name).write_text(json.dumps(changes))
    with pytest.raises(CheckpointFormatError, match=r"tokenizer(_config)?\.json: expected"):
        CLIPTokenizer.from_pretrained(tmp_path)
