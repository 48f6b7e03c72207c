import sys

import h5py
import numpy as np
import pytest

from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.tensors import BFLOAT16, constant
from clip_core.errors import CheckpointFormatError, MissingExtraError
from weights_convert.containers import hdf5_files
from weights_convert.containers.hdf5_files import read_hdf5, write_hdf5
from weights_convert.containers.opened import open_container


def test_bfloat16_is_kept_as_keras_keeps_it(tmp_path):
    value = np.array([1.5, -2.25], BFLOAT16)
    write_hdf5(tmp_path / "a.h5", {"x/vars/0": constant(value)}, {})
    found = read_hdf5(SourceFile(tmp_path / "a.h5"))["x/vars/0"]
    assert found.dtype == BFLOAT16
    assert found.read().tobytes() == value.tobytes()
    with h5py.File(tmp_path / "a.h5") as file:
        dataset = file["x/vars/0"]
        assert dataset.attrs["dtype"] == "bfloat16"
        np.testing.assert_array_equal(np.array(dataset, dtype=BFLOAT16), value)  # how Keras reads it


def test_lists_of_names_too_long_for_an_attribute_are_cut(tmp_path):
    names = [f"{'x' * 90}{number}" for number in range(1500)]
    write_hdf5(tmp_path / "a.h5", {"x/a": constant(np.zeros(2, "<f4"))}, {"x": {"weight_names": names}})
    with h5py.File(tmp_path / "a.h5") as file:
        parts = [file["x"].attrs[f"weight_names{number}"] for number in range(len(file["x"].attrs))]
    assert len(parts) > 1
    assert [name.decode() for part in parts for name in part] == names


@pytest.mark.parametrize("script", ["while True: pass", "import os; os.abort()", "print('{}')", "print('nonsense')"])
def test_a_library_that_hangs_or_crashes_on_a_file_is_an_error(tmp_path, monkeypatch, script):
    (tmp_path / "script.py").write_text(script)
    (tmp_path / "a.h5").touch()
    monkeypatch.setattr(hdf5_files.hdf5_contents, "__file__", str(tmp_path / "script.py"))
    monkeypatch.setattr(hdf5_files, "_SECONDS", 2)
    with pytest.raises(CheckpointFormatError, match="h5py cannot read it"):
        read_hdf5(SourceFile(tmp_path / "a.h5"))


def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.h5").touch()
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"triclip\[convert\]"):
        read_hdf5(SourceFile(tmp_path / "a.h5"))


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
