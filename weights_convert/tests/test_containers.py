"""Files that lie about themselves: bombs, tricks with paths, overlaps, cuts."""

import json
import pickle
import struct
import zipfile

import h5py
import numpy as np
import pytest

from clip_core.checkpoint.safetensors_file import write_safetensors
from clip_core.checkpoint.tensors import constant
from clip_core.errors import CheckpointError, CheckpointFormatError, CheckpointNotFoundError
from weights_convert import inspect
from weights_convert.containers.msgpack_files import write_msgpack
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.tests import checkpoints

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


def hdf5(path, change):
    with h5py.File(path, "w") as file:
        file["layers/text_transformer/a"] = np.zeros((2, 3), "<f4")
        change(file)
    return path


HDF5 = {
    "external link": (
        lambda file: file.__setitem__("b", h5py.ExternalLink("/etc/passwd", "/x")),
        "a link to somewhere",
    ),
    "soft link": (lambda file: file.__setitem__("b", h5py.SoftLink("/layers")), "a link to somewhere"),
    "circle": (lambda file: file.__setitem__("layers/b", file["layers"]), "linked in a circle"),
    "compressed": (lambda file: file.create_dataset("b", data=np.zeros(99, "<f4"), compression="gzip"), "compressed"),
    "bomb": (lambda file: file.create_dataset("b", (10**6, 10**6), "<f4"), "not stored whole"),
    "chunked bomb": (lambda file: file.create_dataset("b", (10**6, 10**6), "<f4", chunks=(9, 9)), "not stored whole"),
    "text": (lambda file: file.create_dataset("b", data="text"), "has the dtype"),
    "big endian": (lambda file: file.create_dataset("b", data=np.zeros(3, ">f4")), "has the dtype >f4"),
    "empty": (lambda file: file.create_dataset("b", data=h5py.Empty("f4")), "is empty"),
    "stored elsewhere": (
        lambda file: file.create_dataset("b", (3,), "<f4", external=[("/etc/passwd", 0, 12)]),
        "stored elsewhere",
    ),
    "named type": (lambda file: file.__setitem__("b", np.dtype("<f4")), "neither group nor array"),
}


@pytest.mark.parametrize("name", HDF5)
def test_hdf5_files_that_do_more_than_hold_arrays(tmp_path, name):
    change, problem = HDF5[name]
    with pytest.raises(CheckpointFormatError, match=problem):
        open_container(hdf5(tmp_path / "a.h5", change))


def test_hdf5_virtual_data_is_refused(tmp_path):
    layout = h5py.VirtualLayout((3,), "<f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3,))
    path = hdf5(tmp_path / "a.h5", lambda file: file.create_virtual_dataset("b", layout))
    with pytest.raises(CheckpointFormatError, match="not stored whole"):
        open_container(path)


@pytest.mark.parametrize(
    ("weight_map", "error", "problem"),
    [
        ({"a": "../a.safetensors"}, CheckpointFormatError, "same directory"),
        ({"a": "/etc/passwd"}, CheckpointFormatError, "same directory"),
        ({"a": "..\\a.safetensors"}, CheckpointFormatError, "same directory"),
        ({"a": 7}, CheckpointFormatError, "same directory"),
        ({"a": "b.safetensors"}, CheckpointNotFoundError, "not there: b.safetensors"),
        ({}, CheckpointNotFoundError, "not there"),
        (None, CheckpointFormatError, "weight_map"),
        ({"a": "a.safetensors", "b": "a.safetensors"}, CheckpointFormatError, "the index only"),
    ],
)
def test_indexes_of_shards(tmp_path, weight_map, error, problem):
    layout = {"a": (np.dtype("<f4"), (2,))}
    write_safetensors(tmp_path / "a.safetensors", layout, [("a", np.zeros(2, "<f4"))], {})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(error, match=problem):
        open_container(index)


MSGPACK = {
    "no map": b"\x93\1\2\3",
    "cut": b"\x81\xa1a\xc9\0\0\xff\xff\1",
    "map without end": b"\xdf\xff\xff\xff\xff",
    "nested without end": b"\x81\xa1a" * 100 + b"\x80",
    "array of objects": b"\x81\xa1a\xc7\x0a\1\x93\x91\1\xa6object\xc4\0",
    "array of another size": b"\x81\xa1a\xc7\x12\1\x93\x91\x05\xa7float32\xc4\x04\0\0\0\0",
    "another extension": b"\x81\xa1a\xd4\x05\0",
    "no array": b"\x81\xa1a\xa1b",
    "a name twice": b"\x82\xa1a\xa1b\xa1a\xa1b",
    "bytes behind": b"\x80\0",
}


@pytest.mark.parametrize("name", MSGPACK)
def test_msgpack_files_that_are_not_whole(tmp_path, name):
    (tmp_path / "a.msgpack").write_bytes(MSGPACK[name])
    with pytest.raises(CheckpointFormatError):
        open_container(tmp_path / "a.msgpack")


def test_arrays_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("weights_convert.containers.msgpack_files._CHUNK_BYTES", 8)
    write_msgpack(tmp_path / "a.msgpack", {"x/y": TENSORS["layer1.weight"], "x/z": constant(np.float32(3))})
    found = open_container(tmp_path / "a.msgpack").tensors
    np.testing.assert_array_equal(found["x/y"].read(), TENSORS["layer1.weight"].read())
    assert found["x/z"].read() == 3


@pytest.mark.parametrize("name", checkpoints.FORMATS)
def test_a_file_cut_anywhere_is_an_error(in_format, tmp_path, name):
    path = in_format[name]
    file = path if path.is_file() else max(path.iterdir(), key=lambda entry: entry.stat().st_size)
    content = file.read_bytes()
    for fraction in (0.0001, 0.3, 0.9, 0.9999):
        cut = tmp_path / file.name
        cut.write_bytes(content[: int(len(content) * fraction)])
        with pytest.raises(CheckpointError):
            inspect(cut, config=checkpoints.CONFIG)
