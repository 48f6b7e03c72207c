import json
import os

import pytest

from clip_core.checkpoint.files import (
    JOURNAL,
    FileSwitch,
    finish_switch,
    read_json,
    read_small,
    write_text_atomically,
)
from clip_core.errors import CheckpointError, CheckpointFormatError, CheckpointNotFoundError


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[" * 100_000, b""])
def test_what_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointFormatError, match="a.json: expected JSON"):
        read_json(tmp_path / "a.json")


def test_a_missing_file_names_those_that_are_there(tmp_path):
    (tmp_path / "b.json").touch()
    with pytest.raises(CheckpointNotFoundError, match="The directory holds: b.json"):
        read_json(tmp_path / "a.json")
    with pytest.raises(CheckpointNotFoundError, match="does not exist either"):
        read_json(tmp_path / "gone" / "a.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match="a.json: cannot be read: expected a regular file, got a named pipe"):
        read_json(tmp_path / "a.json")
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        read_json(tmp_path)


def test_only_so_many_bytes_are_read(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_small(tmp_path / "a", 5) == b"12345"
    with pytest.raises(CheckpointFormatError, match="a: expected at most 4 bytes, got more"):
        read_small(tmp_path / "a", 4)


def test_a_failing_write_leaves_the_old_text_and_nothing_else(tmp_path):
    write_text_atomically(tmp_path / "a", "old")
    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(tmp_path / "a", "\ud800")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "old"}


def test_a_switch_replaces_adds_and_removes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("old")
    with FileSwitch(tmp_path) as switch:
        for name in ("a", "c"):
            switch.write(name).write_text("new")
        switch.remove(["b", "gone"])
        assert (tmp_path / "a").read_text() == "old"
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "new", "c": "new"}


def test_a_failing_switch_changes_nothing(tmp_path):
    (tmp_path / "a").write_text("old")
    switch = FileSwitch(tmp_path)
    switch.write("a").write_text("new")
    switch.remove(["a"])
    switch.__exit__(RuntimeError)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "old"}


def test_a_switch_that_was_cut_short_is_finished(tmp_path):
    (tmp_path / "a").write_text("new")  # its rename is done
    (tmp_path / ".b.tmp").write_text("new")
    (tmp_path / "c").write_text("old")
    plan = {"renames": {".a.tmp": "a", ".b.tmp": "b"}, "removals": ["c", "d"]}
    (tmp_path / JOURNAL).write_text(json.dumps(plan))
    finish_switch(tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a": "new", "b": "new"}


@pytest.mark.parametrize(
    "plan",
    [
        {"renames": {"../a": "b"}, "removals": []},
        {"renames": {"a": "/b"}, "removals": []},
        {"renames": {}, "removals": ["x/../../a"]},
        {"renames": {}, "removals": [3]},
        {"renames": []},
    ],
)
def test_a_journal_that_reaches_out_of_its_directory_is_refused(tmp_path, plan):
    (tmp_path / "inside").mkdir()
    (tmp_path / "a").write_text("mine")
    (tmp_path / "inside" / JOURNAL).write_text(json.dumps(plan))
    with pytest.raises(CheckpointFormatError, match="Delete the file"):
        finish_switch(tmp_path / "inside")
    assert (tmp_path / "a").read_text() == "mine"
