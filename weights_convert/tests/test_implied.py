"""Tensors that are no weights, with values that change what a model computes."""

import shutil

import h5py
import numpy as np
import pytest

from clip_core.checkpoint.tensors import constant
from clip_core.errors import CheckpointFormatError
from weights_convert import convert, inspect, open_source
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.formats.keras_hub import _POSITION_IDS
from weights_convert.tests import checkpoints

POSITIONS = "vision_model.embeddings.position_embedding.weight"
CAUSAL = np.triu(np.full((11, 11), -np.inf, "<f4"), 1)


@pytest.mark.parametrize("order", [np.zeros(17, "i4"), np.arange(17, dtype="i4")[::-1]], ids=["fresh", "reversed"])
def test_keras_hub_positions_are_looked_up(in_format, tmp_path, order):
    shutil.copytree(in_format["keras-hub"], tmp_path / "in")
    with h5py.File(tmp_path / "in/model.weights.h5", "r+") as file:
        file[_POSITION_IDS][...] = order[None]
    found = open_source(tmp_path / "in").model.weights
    np.testing.assert_array_equal(found[POSITIONS].read(), checkpoints.weights()[POSITIONS][order])
    assert convert(tmp_path / "in", tmp_path / "out", to="keras-hub").sha256 == inspect(tmp_path / "in").sha256


def test_keras_hub_positions_beyond_the_table_are_refused(in_format, tmp_path):
    shutil.copytree(in_format["keras-hub"], tmp_path / "in")
    with h5py.File(tmp_path / "in/model.weights.h5", "r+") as file:
        file[_POSITION_IDS][...] = 17
    with pytest.raises(CheckpointFormatError, match="expected position_ids from 0 to 16, got 17 to 17"):
        inspect(tmp_path / "in")


IMPLIED = {
    "attn_mask": (CAUSAL, np.zeros_like(CAUSAL)),
    "transformer.resblocks.1.attn_mask": (CAUSAL < 0, CAUSAL.T),
    "visual.transformer.resblocks.0.attn_mask": (np.zeros((17, 17), "<f4"), CAUSAL),
    "input_resolution": (np.array(28), np.array(56)),
    "context_length": (np.array(11), np.array(77)),
    "vocab_size": (np.array(61), np.array(49408)),
}


@pytest.mark.parametrize("name", IMPLIED)
def test_what_the_configuration_implies_is_compared_with_it(in_format, tmp_path, name):
    tensors = open_container(in_format["openai"]).tensors
    for path, value in zip((tmp_path / "good.pt", tmp_path / "bad.pt"), IMPLIED[name], strict=True):
        write_torchscript(path, {**tensors, name: constant(value)}, {})
    assert inspect(tmp_path / "good.pt", config=checkpoints.CONFIG).sha256 == inspect(in_format["openai"]).sha256
    with pytest.raises(CheckpointFormatError, match=f"'{name}' is not what the configuration implies"):
        inspect(tmp_path / "bad.pt", config=checkpoints.CONFIG)


def test_position_ids_of_transformers_are_passed_over_with_a_note(source, tmp_path):
    shutil.copytree(source, tmp_path / "in")
    name = "text_model.embeddings.position_ids"
    for ids, notes in ((np.arange(11), ()), (np.zeros(11, int), (f"{name}: not counted from zero; passed over",))):
        checkpoints.rewrite(tmp_path / "in/model.safetensors", lambda found, ids=ids: {**found, name: ids[None]})
        found = inspect(tmp_path / "in")
        assert found.sha256 == inspect(source).sha256
        assert tuple(note.partition(", as")[0] for note in found.notes) == notes
