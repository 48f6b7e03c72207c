import sys

import msgpack
import numpy as np
import pytest

from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.tensors import BFLOAT16, constant
from clip_core.errors import CheckpointFormatError, MissingExtraError
from weights_convert.containers.msgpack_files import read_msgpack, write_msgpack
from weights_convert.containers.opened import open_container

ARRAY = constant(np.arange(6, dtype="<f4").reshape(2, 3))
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
    write_msgpack(tmp_path / "a.msgpack", {"x/y": ARRAY, "x/z": constant(np.float32(3))})
    found = open_container(tmp_path / "a.msgpack").tensors
    np.testing.assert_array_equal(found["x/y"].read(), ARRAY.read())
    assert found["x/z"].read() == 3


@pytest.mark.parametrize("dtype", ["<f4", "<f2", "<f8", "bfloat16"])
def test_files_are_what_flax_reads_and_writes(tmp_path, dtype):
    """By the msgpack package and the layout of ``flax.serialization``: an extension of type 1, packed once more."""
    arrays = {"a": np.arange(200 * 3).reshape(200, 3), "b": np.array(2.5), "c": np.zeros((0, 70_000))}
    arrays = {name: value.astype(BFLOAT16 if dtype == "bfloat16" else dtype) for name, value in arrays.items()}
    write_msgpack(tmp_path / "ours", {f"x/{name}": constant(value) for name, value in arrays.items()})
    tree = msgpack.unpackb((tmp_path / "ours").read_bytes())["x"]
    for name, value in arrays.items():
        assert msgpack.unpackb(tree[name].data) == [list(value.shape), value.dtype.name, value.tobytes()]
    packed = {name: (value.shape, value.dtype.name, value.tobytes()) for name, value in arrays.items()}
    extensions = {name: msgpack.ExtType(1, msgpack.packb(value)) for name, value in packed.items()}
    (tmp_path / "theirs").write_bytes(msgpack.packb({"x": extensions}))
    for file in ("ours", "theirs"):
        found = read_msgpack(SourceFile(tmp_path / file))
        assert {name: value.read().tobytes() for name, value in found.items()} == {
            f"x/{name}": value.tobytes() for name, value in arrays.items()
        }


def test_without_msgpack_the_error_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.msgpack").write_bytes(b"\x80")
    monkeypatch.setitem(sys.modules, "msgpack", None)
    with pytest.raises(MissingExtraError, match=r"a msgpack file, which needs 'msgpack'.*triclip\[convert\]"):
        read_msgpack(SourceFile(tmp_path / "a.msgpack"))
