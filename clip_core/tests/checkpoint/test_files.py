import os
import stat

import pytest

from clip_core.checkpoint.files import read_json, read_small, write_text_atomically
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


def test_what_cannot_be_read_is_said_in_one_line(tmp_path):
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "loop.json").symlink_to("loop.json")
    for name, reason in [("folder.json", "Is a directory"), ("loop.json", "Too many levels"), ("n" * 300, "too long")]:
        with pytest.raises(CheckpointError, match=f"cannot be read: .*{reason}"):
            read_json(tmp_path / name)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path, mode):
    (tmp_path / "a").touch()
    (tmp_path / "a").chmod(mode)
    write_text_atomically(tmp_path / "a", "new")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode
