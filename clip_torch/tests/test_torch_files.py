"""Checkpoints as transformers saved them before safetensors: ``pytorch_model.bin``, by torch itself."""

import json

import pytest
import torch

from clip_core.errors import CheckpointFormatError, WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_torch import CLIPModel, CLIPTextModelWithProjection


@pytest.fixture
def saved(tmp_path):
    """A directory without weights yet, and the state dict that belongs there."""
    model = CLIPModel(DISTINCT, seed=5)
    DISTINCT.save_pretrained(tmp_path)
    state = dict(model.state_dict())
    state["text_model.embeddings.position_ids"] = torch.arange(11)[None]  # in files of transformers before 4.31
    return tmp_path, state


def assert_loads(directory, state):
    for name, value in CLIPModel.from_pretrained(directory).state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_file(saved, zipped, dtype):
    directory, state = saved
    state = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    torch.save(state, directory / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    assert_loads(directory, {name: value.float() for name, value in state.items()})
    assert CLIPTextModelWithProjection.from_pretrained(directory, dtype="auto").dtype == dtype


def test_shards(saved):
    directory, state = saved
    weight_map = {name: f"pytorch_model-0000{number % 2 + 1}-of-00002.bin" for number, name in enumerate(state)}
    for file in set(weight_map.values()):
        torch.save({name: state[name] for name in state if weight_map[name] == file}, directory / file)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert_loads(directory, state)


def test_quantised_weights_are_refused(saved):
    directory, state = saved
    state["visual_projection.weight"] = (state["visual_projection.weight"] * 100).to(torch.int8)
    torch.save(state, directory / "pytorch_model.bin")
    with pytest.raises(WeightMismatchError, match=r"visual_projection\.weight \[18, 20\]: int8"):
        CLIPModel.from_pretrained(directory)


def test_a_pointer_of_git_lfs_is_named(saved):
    (saved[0] / "pytorch_model.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(CheckpointFormatError, match="a pointer of Git LFS"):
        CLIPModel.from_pretrained(saved[0])


def test_code_is_refused(saved):
    directory, state = saved
    torch.save({**state, "hook": print}, directory / "pytorch_model.bin")
    with pytest.raises(CheckpointFormatError, match="refused, since it names '__builtin__.print'"):
        CLIPModel.from_pretrained(directory)
