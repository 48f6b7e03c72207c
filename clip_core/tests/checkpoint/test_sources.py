import os
import subprocess
import sys

import numpy as np
import pytest

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.checkpoint.sources import Fingerprints, SourceFile
from clip_core.errors import CheckpointError, CheckpointNotFoundError
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT

BYTES = bytes(range(200))


@pytest.fixture
def path(tmp_path):
    (tmp_path / "weights").write_bytes(BYTES)
    os.utime(tmp_path / "weights", (0, 0))  # some file systems tell times a hundredth of a second apart, not less
    return tmp_path / "weights"


def replace(path, content):
    path.with_name("new").write_bytes(content)
    os.replace(path.with_name("new"), path)


def read_all(source):
    return source.tensor(0, np.dtype("u1"), (source.size,)).read().tobytes()


def test_a_file_that_is_replaced_is_read_as_it_was(path):
    source = SourceFile(path)
    seen = Fingerprints([])
    seen.add([source])
    seen.check()
    replace(path, BYTES[::-1])
    assert read_all(source) == BYTES
    source.check_unchanged()
    with pytest.raises(CheckpointError, match=r"weights: changed while it was read, .*Try again when nothing writes"):
        seen.check()


def test_a_file_that_is_written_over_in_place_is_noticed(path):
    source = SourceFile(path)
    with open(path, "r+b") as file:
        file.write(b"other")
    with pytest.raises(CheckpointError, match="changed while it was read"):
        source.check_unchanged()


def test_a_file_that_is_cut_is_an_error_and_no_signal(path):
    source = SourceFile(path)
    os.truncate(path, 150)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        read_all(source)


@pytest.mark.parametrize("change", ["gone", "new"])
def test_names_that_come_and_go_are_noticed(path, change):
    names = [path, path.with_name("config.json")]
    seen = Fingerprints(names)
    assert seen.changed() == []
    path.unlink() if change == "gone" else names[1].touch()
    assert seen.changed() == [names[0] if change == "gone" else names[1]]


@pytest.mark.parametrize("positioned", [True, False])
def test_reading(path, monkeypatch, positioned):
    if not positioned:  # as on Windows
        monkeypatch.delattr(os, "preadv")
    source = SourceFile(path)
    assert (source.read(0, 3), source.read(198, 9), source.read(500, 1)) == (BYTES[:3], BYTES[198:], b"")
    tensor = source.tensor(4, np.dtype("<u2"), (2, 3))
    np.testing.assert_array_equal(tensor.read(), np.frombuffer(BYTES[4:16], "<u2").reshape(2, 3))
    assert tensor.fresh
    assert not np.shares_memory(tensor.read(), tensor.read())
    stream = source.stream()
    stream.seek(-5, os.SEEK_END)
    assert (stream.read(2), stream.tell(), stream.read()) == (BYTES[195:197], 197, BYTES[197:])


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ""):
        with pytest.raises(CheckpointError, match="cannot be opened: (expected a regular file, got a|Is a directory)"):
            SourceFile(tmp_path / name)
    with pytest.raises(CheckpointNotFoundError, match="no such file"):
        SourceFile(tmp_path / "nothing")


SCRIPT = """
import resource, sys
from pathlib import Path
from clip_core.checkpoint.directory import load_checkpoint
from clip_core.config import CLIPConfig
from clip_core.errors import CheckpointError
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
few, many = map(Path, sys.argv[1:])
for _ in range(100):
    loaded = load_checkpoint(few, CLIPConfig)
    sum(value.size for value in loaded.weights.values())
    held = loaded.weights[next(iter(loaded.weights))]
try:
    load_checkpoint(many, CLIPConfig)
except CheckpointError as error:
    print(error)
load_checkpoint(few, CLIPConfig)
"""


def test_no_descriptor_is_left_open(tmp_path):
    weights = dict(draw_weights(DISTINCT, seed=0))
    for name, size in (("few", "10KB"), ("many", "1KB")):
        save_checkpoint(tmp_path / name, DISTINCT, weights, architecture="CLIPModel", max_shard_size=size)
    assert len(list((tmp_path / "few").iterdir())) > 10
    command = [sys.executable, "-c", SCRIPT, tmp_path / "few", tmp_path / "many"]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "cannot be opened: Too many open files" in ended.stdout
    assert not ended.stderr
