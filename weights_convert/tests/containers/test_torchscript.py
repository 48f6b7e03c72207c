"""Torch archives that lie about themselves: bombs, tricks with paths, overlaps, cuts."""

import pickle
import struct
import zipfile

import numpy as np
import pytest

from clip_core.checkpoint.tensors import constant
from clip_core.errors import CheckpointFormatError
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript

TENSORS = {f"layer{i}.weight": constant(np.arange(6, dtype="<f4").reshape(2, 3) + i) for i in range(3)}


def archive(path, **changes):
    """A torch archive; keyword arguments replace or add entries, ``None`` removes."""
    write_torchscript(path, TENSORS, {})
    with zipfile.ZipFile(path) as whole:
        entries = {info.filename: whole.read(info) for info in whole.infolist()}
    entries.update({f"archive/{name.replace('__', '/')}": content for name, content in changes.items()})
    with zipfile.ZipFile(path, "w") as changed:
        for name, content in entries.items():
            if content is not None:
                changed.writestr(name, content)
    return path


def test_torch_archives_that_are_fine(tmp_path):
    found = open_container(archive(tmp_path / "a.pt")).tensors
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(found[name].read(), tensor.read())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"data__0": None}, "no data for the storage '0'"),
        ({"data__0": b"short"}, "a storage of 24 bytes has only 5"),
        ({"data.pkl": None}, "no data.pkl"),
        ({"data.pkl": b"cos\nsystem\n."}, "it names 'os.system'"),
        ({"byteorder": b"big"}, "little-endian"),
        ({"..__..__etc__passwd": b"x"}, "leads outside"),
    ],
)
def test_torch_archives_that_are_not(tmp_path, changes, problem):
    with pytest.raises(CheckpointFormatError, match=problem):
        open_container(archive(tmp_path / "a.pt", **changes))


def test_a_zip_with_an_entry_twice(tmp_path):
    path = archive(tmp_path / "a.pt")
    with zipfile.ZipFile(path, "a") as changed, pytest.warns(UserWarning, match="Duplicate"):
        changed.writestr("archive/data/0", b"x" * 24)
    with pytest.raises(CheckpointFormatError, match="two entries 'archive/data/0'"):
        open_container(path)


def test_a_zip_whose_entries_overlap(tmp_path):
    path = archive(tmp_path / "a.pt")
    with zipfile.ZipFile(path) as whole:
        first, second = (whole.getinfo(f"archive/data/{n}").header_offset for n in (0, 1))
    content = path.read_bytes()
    position = content.index(struct.pack("<L", second) + b"archive/data/1")
    path.write_bytes(content[:position] + struct.pack("<L", first) + content[position + 4 :])
    with pytest.raises(CheckpointFormatError, match="overlaps|not what the table"):
        open_container(path)


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "a.pt"
    write_torchscript(path, TENSORS, {})
    with zipfile.ZipFile(path) as whole:
        entries = {info.filename: whole.read(info) for info in whole.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as changed:
        for name, content in entries.items():
            changed.writestr(name, content if name != "archive/data.pkl" else b"0" * 10_000_000)
    with pytest.raises(CheckpointFormatError, match=r"no data\.pkl"):
        open_container(path)


def test_a_huge_table_of_contents_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("clip_core.checkpoint.zip_archive._MAX_DIRECTORY_BYTES", 100)
    with pytest.raises(CheckpointFormatError, match="its table of contents has .* bytes, more than 100"):
        open_container(archive(tmp_path / "a.pt"))


def test_module_trees_without_end(tmp_path):
    endless = b"}q\0X\x01\0\0\0ah\0s."
    with pytest.raises(CheckpointFormatError, match="nested without end"):
        open_container(archive(tmp_path / "a.pt", **{"data.pkl": endless}))


def test_a_pickle_that_is_not_of_torch(tmp_path):
    (tmp_path / "a.bin").write_bytes(pickle.dumps({"a": 1}, 2))
    with pytest.raises(CheckpointFormatError, match="a pickle, but not of torch"):
        open_container(tmp_path / "a.bin")
