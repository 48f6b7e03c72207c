import os
import socket

import numpy as np
import pytest

from clip_core.checkpoint.tensors import constant
from clip_core.errors import CheckpointError, InputError
from weights_convert import convert, inspect
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.destination import check_destination, written_beside


def test_a_directory_with_more_than_a_checkpoint_is_not_replaced(source, tmp_path):
    convert(source, tmp_path / "project", to="hf")
    (tmp_path / "project/thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds more than a checkpoint \(thesis.txt\)"):
        convert(source, tmp_path / "project", to="nnx", overwrite=True)
    assert (tmp_path / "project/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("files", [["features.h5", "README.md"], ["config.json"], ["model.safetensors/mine"]])
def test_a_directory_that_only_looks_like_a_checkpoint_is_not_replaced(source, tmp_path, files):
    for file in files:
        (tmp_path / "out" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / file).touch()
    with pytest.raises(InputError, match="holds more than a checkpoint|holds no weights"):
        convert(source, tmp_path / "out", to="nnx", overwrite=True)
    assert all((tmp_path / "out" / file).exists() for file in files)


def test_the_parent_of_the_source_is_not_replaced(source, tmp_path):
    convert(source, tmp_path / "in", to="hf")
    with pytest.raises(InputError, match="holds more than a checkpoint"):
        convert(tmp_path / "in", tmp_path, to="nnx", overwrite=True)
    assert inspect(tmp_path / "in").format == "hf"


def test_the_working_directory_is_not_replaced(source, tmp_path, monkeypatch):
    convert(source, tmp_path / "here", to="hf")
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(InputError, match="is the working directory"):
        convert(source, ".", to="nnx", overwrite=True)


def test_a_checkpoint_is_replaced_in_place(source, tmp_path):
    convert(source, tmp_path / "model", to="hf")
    convert(tmp_path / "model", tmp_path / "model", to="keras-hub", overwrite=True)
    assert inspect(tmp_path / "model").sha256 == inspect(source).sha256
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_appears_meanwhile_is_not_replaced(source, tmp_path):
    def appear(total):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out/precious").touch()
        return lambda done: None

    with pytest.raises(InputError, match="is there already"):
        convert(source, tmp_path / "out", to="hf", progress=appear)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_link_stays_and_what_it_names_is_replaced(source, tmp_path):
    convert(source, tmp_path / "old", to="hf")
    (tmp_path / "link").symlink_to("old")
    convert(source, tmp_path / "link", to="nnx", overwrite=True)
    assert (tmp_path / "link").is_symlink()
    assert inspect(tmp_path / "old").format == "nnx"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "old"]


@pytest.mark.parametrize("kind", ["text", "pipe", "socket", "other weights", "link"])
def test_a_file_that_is_no_checkpoint_is_not_replaced(source, tmp_path, kind):
    path = tmp_path / "model.pt"
    (tmp_path / "note.txt").write_text("years of work")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    elif kind == "other weights":
        write_torchscript(path, {"conv.weight": constant(np.zeros((2, 3), np.float32))}, {})
    elif kind == "link":
        path.symlink_to("note.txt")
    else:
        (tmp_path / "note.txt").rename(path)
    before = path.lstat()
    with pytest.raises(InputError, match="is not a known checkpoint, and nothing else is replaced"):
        convert(source, path, to="openai", overwrite=True)
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_size) == (before.st_ino, before.st_mode, before.st_size)


def test_a_checkpoint_file_is_replaced(source, tmp_path):
    convert(source, tmp_path / "hf", to="hf")
    (tmp_path / "hf/model.safetensors").rename(tmp_path / "model.pt")
    convert(source, tmp_path / "model.pt", to="openai", overwrite=True)
    assert inspect(tmp_path / "model.pt").format == "openai"


def test_below_a_file_nothing_can_be_written(source, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be written"):
        convert(source, tmp_path / "file/out", to="hf")


def test_what_a_killed_run_moved_aside_is_put_back(tmp_path):
    (tmp_path / ".model.0123abcd.old").mkdir()
    (tmp_path / ".model.0123abcd.old/model.safetensors").touch()
    with pytest.raises(InputError, match="is there already"):
        check_destination(tmp_path / "model", is_file=False, overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_error_leaves_nothing_beside(tmp_path):
    def fail():
        with written_beside(tmp_path / "a", is_file=True, overwrite=False) as temporary:
            temporary.write_bytes(b"x")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == []
