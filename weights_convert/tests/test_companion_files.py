import json
import os
import shutil
import stat

import pytest

from clip_core.errors import CheckpointError, CheckpointFormatError
from weights_convert import convert, inspect
from weights_convert.companion_files import read_companion, rewritten
from weights_convert.tests import checkpoints

CODE = {"auto_map": {"AutoModel": "theirs.Model"}, "trust_remote_code": True}


@pytest.fixture
def directory(source, tmp_path):
    shutil.copytree(source, tmp_path / "in")
    return tmp_path / "in"


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt", "preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize("target", ["../secret.json", "/tmp", "../in/../secret.json"])
def test_a_link_that_leaves_the_directory_is_refused(directory, tmp_path, name, target):
    (tmp_path / "secret.json").write_text('{"root": 7}')
    (directory / name).symlink_to(target)
    with pytest.raises(CheckpointFormatError, match=f"{name}: expected a file of this directory, got a link to"):
        convert(directory, tmp_path / "out", to="hf")
    assert not (tmp_path / "out").exists()


def test_the_assets_of_a_preset_are_no_way_out_either(source, tmp_path):
    convert(source, tmp_path / "in", to="keras-hub")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/vocabulary.json").write_text('{"root": 7}')
    (tmp_path / "in/assets").mkdir(exist_ok=True)
    (tmp_path / "in/assets/tokenizer").symlink_to(tmp_path / "secrets")
    with pytest.raises(CheckpointFormatError, match="vocabulary.json: expected a file of this directory"):
        inspect(tmp_path / "in")


def test_links_inside_of_the_directory_and_those_of_the_hub_cache_are_followed(tmp_path):
    snapshot = tmp_path / "models--a--b/snapshots/0123/model"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--a--b/blobs").mkdir()
    (tmp_path / "models--a--b/blobs/sha").write_text("{}")
    (snapshot / "vocab.json").symlink_to("../../../blobs/sha")
    (snapshot / "tokenizer.json").symlink_to("vocab.json")
    assert read_companion(snapshot, "vocab.json") == read_companion(snapshot, "tokenizer.json") == b"{}"
    assert read_companion(snapshot, "merges.txt") is None
    (tmp_path / "models--a--b/blobs").rename(tmp_path / "elsewhere")
    (tmp_path / "models--a--b/blobs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointFormatError, match="which is not copied"):
        read_companion(snapshot, "vocab.json")


def test_what_is_no_file_or_cannot_be_read_is_refused_without_waiting(directory):
    os.mkfifo(directory / "vocab.json")
    (directory / "merges.txt").mkdir()
    (directory / "tokenizer.json").symlink_to("tokenizer.json")
    (directory / "added_tokens.json").symlink_to("gone")
    for name in ("vocab.json", "merges.txt", "tokenizer.json", "added_tokens.json"):
        with pytest.raises(CheckpointError, match=f"{name}: (cannot be read|no such file)"):
            read_companion(directory, name)


def test_a_companion_of_any_size_is_not_read(directory):
    with open(directory / "vocab.json", "wb") as file:
        file.truncate(10**12)
    with pytest.raises(CheckpointFormatError, match="vocab.json: expected at most 30000000 bytes"):
        inspect(directory)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"[]", b"root:x:0:0:root", b'{"a": "\\ud800"}'])
def test_a_companion_that_is_no_json_is_not_copied(directory, tmp_path, content):
    (directory / "special_tokens_map.json").write_bytes(content)
    with pytest.raises(CheckpointFormatError, match="special_tokens_map.json: expected"):
        convert(directory, tmp_path / "out", to="hf")


def test_what_is_copied_is_what_was_understood(tmp_path):
    files = {"vocab.json": b'  {"b</w>":1, "\xc3\xbc":0}\n\n', "merges.txt": b"#version: 0.2\na b\n"}
    found = rewritten(files, tmp_path)
    assert found["merges.txt"] == files["merges.txt"]
    assert found["vocab.json"].decode() == '{\n  "b</w>": 1,\n  "ü": 0\n}\n'
    with pytest.raises(CheckpointFormatError, match="merges.txt: expected UTF-8 text"):
        rewritten({"merges.txt": b"\xff"}, tmp_path)


@pytest.mark.parametrize("to", ["hf", "open_clip", "openai"])
def test_what_names_code_does_not_travel(directory, tmp_path, to):
    described = json.loads((directory / "config.json").read_text())
    contents = {
        "config.json": {**described, **CODE, "text_config": {**described["text_config"], **CODE}},
        "preprocessor_config.json": {"size": 28, "crop_size": 28, **CODE},
        "tokenizer_config.json": {"model_max_length": 11, **CODE},
    }
    for name, content in contents.items():
        (directory / name).write_text(json.dumps(content))
    convert(directory, checkpoints.destination(tmp_path, to), to=to)
    convert(checkpoints.destination(tmp_path, to), tmp_path / "again", to="hf")
    written = [file.read_text() for file in (tmp_path / "again").glob("*.json")]
    assert len(written) == 3
    assert not any(key in text for text in written for key in CODE)


@pytest.mark.parametrize(("to", "mode"), [("hf", 0o600), ("hf", 0o640), ("openai", 0o600), ("keras-hub", 0o600)])
def test_what_is_replaced_is_for_those_who_could_read_it(source, tmp_path, to, mode):
    path = checkpoints.destination(tmp_path, to)
    convert(source, path, to=to)
    for entry in [path, *(path.rglob("*") if path.is_dir() else ())]:
        entry.chmod(mode | 0o100 if entry.is_dir() else mode)
    convert(source, path, to=to, overwrite=True, **({"max_shard_size": "300KB"} if to == "hf" else {}))
    modes = {stat.S_IMODE(file.stat().st_mode) for file in [path, *path.rglob("*")] if file.is_file()}
    assert modes == {mode}
    assert stat.S_IMODE(path.stat().st_mode) == (mode | 0o100 if path.is_dir() else mode)
