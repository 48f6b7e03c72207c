import fcntl
import os
import subprocess
import sys

import pytest

from clip_core.checkpoint import leftovers
from clip_core.checkpoint.files import write_text_atomically
from clip_core.checkpoint.leftovers import saving
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT

WEIGHTS = dict(draw_weights(DISTINCT, seed=0))


def save(directory, weights=WEIGHTS):
    save_checkpoint(directory, DISTINCT, weights, architecture="CLIPModel", max_shard_size="20KB")


def names(directory):
    return {entry.name for entry in directory.iterdir()}


KILLED = """
import os, sys, signal
from pathlib import Path
from clip_core.tests.checkpoint.test_leftovers import WEIGHTS, save
class Killed(dict):
    def __getitem__(self, name):
        if name == "logit_scale" or name.startswith("visual"):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(name)
save(Path(sys.argv[1]), Killed(WEIGHTS))
"""


def test_the_next_save_removes_what_a_killed_one_left(tmp_path):
    save(tmp_path)
    whole = names(tmp_path)
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    others = {".config.json.swp", ".mine.01234567.tmp", ".model.safetensors.tmp", "config.json.01234567.tmp"}
    for name in others:
        (tmp_path / name).touch()
    assert len(names(tmp_path)) > len(whole) + len(others)
    save(tmp_path)
    left = names(tmp_path) - others
    assert not [name for name in left if name.startswith(".")]
    assert others < names(tmp_path)


def test_a_save_that_runs_keeps_its_temporary_files(tmp_path):
    save(tmp_path)

    class Interrupted(dict):
        seen = None

        def __getitem__(self, name):
            if self.seen is None:
                Interrupted.seen = {entry for entry in names(tmp_path) if entry.startswith(".")}
                command = [sys.executable, "-c", KILLED, tmp_path]
                subprocess.run(command, check=False)  # begins while this save runs
                assert Interrupted.seen < names(tmp_path)
            return super().__getitem__(name)

    save(tmp_path, Interrupted(WEIGHTS))
    assert Interrupted.seen


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_leftovers_of_any_kind_go_and_what_they_point_to_stays(tmp_path, kind):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    left = tmp_path / ".model.pt.0123abcd.tmp"
    if kind == "link":
        left.symlink_to(tmp_path / "precious")
    else:
        left.touch() if kind == "file" else (left / "deep").mkdir(parents=True)
    with saving(tmp_path, lambda name: name == "other"):
        assert os.path.lexists(left)
    with saving(tmp_path, lambda name: name == "model.pt"):
        assert not os.path.lexists(left)
    assert (tmp_path / "precious/file").exists()


def test_the_only_copy_is_no_leftover(tmp_path):
    for name in (".a.0123abcd.old", ".b.0123abcd.old", "b"):
        (tmp_path / name).mkdir()
    with saving(tmp_path, lambda name: True):
        assert names(tmp_path) == {".a.0123abcd.old", "b"}


def test_a_single_file_too(tmp_path):
    (tmp_path / ".vocab.json.0123abcd.tmp").touch()
    write_text_atomically(tmp_path / "vocab.json", "{}")
    assert names(tmp_path) == {"vocab.json"}


def test_nothing_is_waited_for_where_another_program_holds_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers, "_PAUSE", 0)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    (tmp_path / ".vocab.json.0123abcd.tmp").touch()
    write_text_atomically(tmp_path / "vocab.json", "{}")
    os.close(descriptor)
    assert names(tmp_path) == {"vocab.json", ".vocab.json.0123abcd.tmp"}
