import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import load_file, save_file

from clip_core.checkpoint.safetensors_file import SafetensorsFile, write_safetensors
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError

DTYPES = ["<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "i1", "u1", "?"]
ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
    st.sampled_from(DTYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
    ),
    max_size=4,
)


def write(path, arrays, metadata):
    layout = {name: (value.dtype, value.shape) for name, value in arrays.items()}
    write_safetensors(path, layout, arrays.items(), metadata)


@given(ARRAYS)
@settings(max_examples=60, deadline=None)
def test_agrees_with_the_safetensors_package_both_ways(tmp_path_factory, arrays):
    path = tmp_path_factory.mktemp("files") / "ours.safetensors"
    write(path, arrays, {"format": "pt"})
    theirs = load_file(path)
    assert set(theirs) == set(arrays)
    save_file(arrays, path.with_name("theirs.safetensors"))
    ours = SafetensorsFile(path.with_name("theirs.safetensors"))
    for name, value in arrays.items():
        for read in (theirs[name], ours[name]):
            assert read.dtype == value.dtype
            assert read.shape == value.shape
            assert read.tobytes() == value.tobytes()


def test_bfloat16_keeps_its_bits_and_metadata_is_read(tmp_path):
    value = np.arange(-6, 6, dtype=ml_dtypes.bfloat16).reshape(3, 4) / 7
    write(tmp_path / "a", {"x": value}, {"format": "pt"})
    file = SafetensorsFile(tmp_path / "a")
    assert file.metadata == {"format": "pt"}
    assert file["x"].dtype == ml_dtypes.bfloat16
    assert file["x"].tobytes() == value.tobytes()


def raw_file(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def entry(start, stop, shape=(1,), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, stop]}


@pytest.mark.parametrize(
    ("header", "data", "problem"),
    [
        ({"a": entry(0, 4), "b": entry(2, 6)}, b"x" * 6, "overlap"),
        ({"a": entry(0, 4), "b": entry(8, 12)}, b"x" * 12, "gap"),
        ({"a": entry(0, 400, (100,))}, b"x" * 4, "ends at byte"),
        ({"a": entry(0, 4)}, b"x" * 9, "after the last tensor"),
        ({"a": entry(0, 4, (2,))}, b"x" * 4, "does not fill"),
        ({"a": entry(0, 4, (-1, -1))}, b"x" * 4, "no natural number"),
        ({"a": entry(0, 4, (1.0,))}, b"x" * 4, "no natural number"),
        ({"a": entry(4, 0)}, b"x" * 4, "does not fill"),
        ({"a": entry(0, 4, dtype="F4")}, b"x" * 4, "expected a dtype of F64, F32.*got 'F4'"),
        ({"a": {"dtype": "F32"}}, b"", "malformed"),
        ({"a": 3}, b"", "malformed"),
        ({"__metadata__": {"a": 3}}, b"", "string to string"),
        (b'{"a": 1, "a": 2}', b"", "twice"),
        (b'{"a": {"dtype": "F32", "shape": [%s]}}' % (b"9" * 21), b"", "file: its header has a number of 21 digits"),
        ({"a": entry(0, 4, [2**63] * 33)}, b"x" * 4, "has 33 axes, more than 32"),
        (b"[]", b"", "not a JSON object"),
        (b"{nonsense", b"", "not JSON"),
        (b"[" * 100_000, b"", "not JSON"),
    ],
)
def test_a_broken_file_is_refused_with_the_reason(tmp_path, header, data, problem):
    with pytest.raises(CheckpointFormatError, match=problem):
        SafetensorsFile(raw_file(tmp_path / "broken", header, data))


def test_truncation_at_every_byte_is_noticed(tmp_path):
    write(tmp_path / "whole", {"x": np.ones((2, 3), np.float32)}, {})
    content = (tmp_path / "whole").read_bytes()
    for length in range(len(content)):
        (tmp_path / "part").write_bytes(content[:length])
        with pytest.raises(CheckpointFormatError, match="not a whole safetensors file"):
            SafetensorsFile(tmp_path / "part")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="nothing-here"):
        SafetensorsFile(tmp_path / "nothing-here")
