"""Only regular files are opened, and nobody waits for what is none."""

import os
import socket
from pathlib import Path

import pytest

from clip_core.regular_files import open_regular


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_a_file_and_a_link_to_one_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")
    for name in ("file", "link"):
        with open_regular(tmp_path / name) as file:
            assert file.read() == b"bytes"


def test_a_pipe_is_refused_without_waiting_also_through_a_link(pipe: Path) -> None:
    link = pipe.with_name("link")
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(OSError, match="expected a regular file, got a named pipe"):
            open_regular(path)


def test_what_becomes_a_pipe_after_the_first_look_is_refused_too(pipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    regular = os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda path: regular)
    descriptors = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="a named pipe"):
        open_regular(pipe)
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_directories_sockets_and_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(OSError, match="a socket"):
            open_regular(tmp_path / "socket")
    with pytest.raises(OSError, match="a character device"):
        open_regular(os.devnull)


def test_an_absent_file_is_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")
