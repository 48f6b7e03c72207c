import json

import numpy as np
import pytest

from clip_core.checkpoint.safetensors_file import write_safetensors
from clip_core.errors import CheckpointError, CheckpointFormatError, CheckpointNotFoundError
from weights_convert import inspect
from weights_convert.containers.opened import open_container
from weights_convert.tests import checkpoints


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


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_header_whose_length_looks_like_a_pickle(tmp_path, protocol):
    length = int.from_bytes(bytes([0x80, protocol]), "little")
    layout = {"a": (np.dtype("<f4"), (2,))}
    write_safetensors(tmp_path / "short", layout, [("a", np.zeros(2, "<f4"))], {"note": ""})
    short = int.from_bytes((tmp_path / "short").read_bytes()[:8], "little")
    write_safetensors(tmp_path / "a", layout, [("a", np.zeros(2, "<f4"))], {"note": "x" * (length - short)})
    assert (tmp_path / "a").read_bytes().startswith(bytes([0x80, protocol]))
    assert open_container(tmp_path / "a").kind == "safetensors"
