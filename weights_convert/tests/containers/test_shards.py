import json
from fnmatch import fnmatch

import pytest

from weights_convert import convert, diff
from weights_convert.containers.shards import hugging_face_files


@pytest.mark.parametrize("to", ["hf", "hf-tf", "hf-flax"])
def test_shards_hold_no_more_than_asked(source, tmp_path, to):
    convert(source, tmp_path / "out", to=to, max_shard_size="300KB")
    (index,) = (tmp_path / "out").glob("*.index.json")
    shards = set(json.loads(index.read_text())["weight_map"].values())
    assert len(shards) > 2
    assert diff(source, tmp_path / "out").same


def test_names_of_files_are_told_from_others():
    files = hugging_face_files("model.safetensors", "model-a")
    assert files.shard(2, 13) == "model-00002-of-00013.safetensors"
    assert all(map(files.holds_weights, ("model.safetensors", files.shard(1, 2), "model-a-00001-of-00002.safetensors")))
    for name in ("model-b-00001-of-00002.safetensors", "model-1-of-2.safetensors", "modelxsafetensors", files.index):
        assert not files.holds_weights(name)
    assert all(fnmatch(files.shard(1, 2), pattern) for pattern in files.globs[:1])
