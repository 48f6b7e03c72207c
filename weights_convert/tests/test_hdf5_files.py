import sys

import h5py
import numpy as np
import pytest

from clip_core.checkpoint.tensors import BFLOAT16, constant
from clip_core.errors import CheckpointFormatError, MissingExtraError
from weights_convert.containers import hdf5_files
from weights_convert.containers.hdf5_files import read_hdf5, write_hdf5


def test_bfloat16_is_kept_as_keras_keeps_it(tmp_path):
    value = np.array([1.5, -2.25], BFLOAT16)
    write_hdf5(tmp_path / "a.h5", {"x/vars/0": constant(value)}, {})
    found = read_hdf5(tmp_path / "a.h5")["x/vars/0"]
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
    monkeypatch.setattr(hdf5_files.hdf5_contents, "__file__", str(tmp_path / "script.py"))
    monkeypatch.setattr(hdf5_files, "_SECONDS", 2)
    with pytest.raises(CheckpointFormatError, match="h5py cannot read it"):
        read_hdf5(tmp_path / "a.h5")


def test_without_h5py_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"triclip\[convert\]"):
        read_hdf5(tmp_path / "a.h5")
