import os
import pickle
import time

import numpy as np
import pytest

from clip_core.checkpoint import mapping
from clip_core.checkpoint.mapping import can_be_mapped, mapped
from clip_core.checkpoint.sources import SourceFile
from clip_core.errors import CheckpointError

FLOAT = np.dtype("<f4")
PLACES = {"first": 0, "unaligned": 25, "overlapping": 40, "again": 40, "last": 80}


@pytest.fixture
def path(tmp_path):
    np.arange(50, dtype=FLOAT).tofile(tmp_path / "weights")
    os.utime(tmp_path / "weights", (0, 0))
    return tmp_path / "weights"


def opened(path):
    source = SourceFile(path)
    tensors = {name: source.tensor(offset, FLOAT, (2, 3)) for name, offset in PLACES.items()}
    return source, {**tensors, "half": source.tensor(104, np.dtype("<f2"), (2, 3))}


def test_what_lies_right_in_its_file_is_mapped_and_everything_else_is_read(path):
    tensors = opened(path)[1]
    found, files = mapped(tensors, FLOAT)
    arrays = {name: tensor.read() for name, tensor in found.items()}
    for name, array in arrays.items():
        assert array.tobytes() == tensors[name].read().tobytes()
        assert (array.dtype, array.shape) == (tensors[name].dtype, (2, 3))
    assert [name for name, array in arrays.items() if files.holds(array.ctypes.data)] == [
        "first",
        "overlapping",
        "last",
    ]


def test_what_is_written_to_the_memory_does_not_reach_the_file(path):
    before = path.read_bytes()
    found, files = mapped(opened(path)[1], FLOAT)
    found["last"].read()[:] = 7
    assert (found["last"].read() == 7).all()
    assert path.read_bytes() == before
    files.check()


def test_a_file_that_is_written_to_in_place_is_an_error_from_then_on_and_one_that_is_replaced_is_none(path):
    files = mapped(opened(path)[1], FLOAT)[1]
    path.with_name("new").write_bytes(b"other")
    os.replace(path.with_name("new"), path)
    files.check()
    np.arange(50, dtype=FLOAT).tofile(path)
    os.utime(path, (0, 0))
    files = mapped(opened(path)[1], FLOAT)[1]
    path.write_bytes(b"short")
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r"weights: written to in place while .*disable_mmap=True"):
            files.check()
    pickle.loads(pickle.dumps(files)).check()  # copied with its weights


@pytest.mark.parametrize("error", [OSError, ValueError])  # ENODEV, ENOMEM; a file that is shorter by now
def test_what_cannot_be_mapped_is_read(path, monkeypatch, error):
    def refused(*args, **options):
        raise error("no mapping")

    monkeypatch.setattr("mmap.mmap", refused)
    tensors = opened(path)[1]
    found, files = mapped(tensors, FLOAT)
    assert not files.sources
    assert all(found[name] is tensor for name, tensor in tensors.items())


def test_a_file_that_was_written_to_just_now_is_read(path):
    os.utime(path, (time.time(), time.time() - 1))
    assert not can_be_mapped(SourceFile(path))
    os.utime(path, (time.time(), time.time() - 30))
    assert can_be_mapped(SourceFile(path)) == os.path.exists("/proc/self/mountinfo")


@pytest.mark.parametrize(("kind", "allowed"), [("ext4", True), ("nfs4", False), ("fuse.sshfs", False)])
def test_a_file_on_a_disk_of_another_computer_is_read(path, monkeypatch, kind, allowed):
    mounts = path.with_name("mounts")
    mounts.write_text(
        f"21 1 254:0 / / rw,relatime - tmpfs none rw\n23 21 0:41 / {path.parent} rw shared:5 - {kind} none rw\n"
        f"22 21 0:40 / {path.parent}2 rw - nfs server:/data rw\n"
    )
    monkeypatch.setattr(mapping, "_MOUNTS", mounts)
    assert can_be_mapped(SourceFile(path)) == allowed
    monkeypatch.setattr(mapping, "_MOUNTS", path.with_name("nothing"))
    assert not can_be_mapped(SourceFile(path))


def test_names_of_mounts_are_bytes_with_escapes(tmp_path, monkeypatch):
    """One that is not understood would leave a file of the network to the disk that it is mounted on."""
    shared, mounts = tmp_path / "donn\u00e9es de tous", tmp_path / "mounts"
    shared.mkdir()
    np.arange(50, dtype=FLOAT).tofile(shared / "weights")
    os.utime(shared / "weights", (0, 0))
    name = os.fsencode(shared).replace(b" ", rb"\040")
    mounts.write_bytes(
        b"21 1 254:0 / / rw - ext4 none rw\n24 21 0:42 / /not\xffutf-8 rw - nfs server:/data rw\n"
        b"23 21 0:41 / " + name + b" rw - nfs server:/data rw\n"
    )
    monkeypatch.setattr(mapping, "_MOUNTS", mounts)
    assert not can_be_mapped(SourceFile(shared / "weights"))
