import json
from dataclasses import replace

import numpy as np
import pytest

from clip_core.checkpoint import directory
from clip_core.checkpoint import weight_files as files_of_weights
from clip_core.checkpoint.directory import StoredWeights, load_checkpoint
from clip_core.checkpoint.saving import parse_size, save_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig
from clip_core.errors import (
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    InputError,
    WeightMismatchError,
)
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT


def save(directory, seed=0, **options):
    weights = dict(draw_weights(DISTINCT, seed=seed))
    save_checkpoint(directory, DISTINCT, weights, architecture="CLIPModel", **options)
    return weights


def assert_holds(directory, weights):
    stored = StoredWeights(directory)
    assert set(stored) == set(weights)
    for name, value in weights.items():
        np.testing.assert_array_equal(stored[name], value)


def weight_files(directory):
    return sorted(file.name for file in directory.iterdir() if file.name.startswith("model"))


@pytest.mark.parametrize("first", ["5GB", "20KB"])
@pytest.mark.parametrize("second", ["5GB", "20KB", "30KB"])
def test_a_save_replaces_another_and_leaves_no_file_of_it(tmp_path, first, second):
    (tmp_path / "notes.txt").write_text("mine")
    save(tmp_path, seed=1, max_shard_size=first)
    weights = save(tmp_path, seed=2, max_shard_size=second)
    assert_holds(tmp_path, weights)
    expected = {"model.safetensors"}
    if second != "5GB":
        index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
        expected = {*index["weight_map"].values(), "model.safetensors.index.json"}
        assert index["metadata"]["total_size"] == sum(value.nbytes for value in weights.values())
    assert set(weight_files(tmp_path)) == expected
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_the_configuration_says_architecture_and_dtype(tmp_path):
    save(tmp_path)
    described = json.loads((tmp_path / "config.json").read_text())
    assert described["architectures"] == ["CLIPModel"]
    assert described["dtype"] == "float32"
    assert CLIPConfig.from_pretrained(tmp_path) == DISTINCT


def test_a_failing_save_leaves_the_old_checkpoint(tmp_path):
    weights = save(tmp_path)

    class Failing(dict):
        def __getitem__(self, name):
            if name.startswith("vision_model"):
                raise RuntimeError("device lost")
            return super().__getitem__(name)

    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(RuntimeError, match="device lost"):
        save_checkpoint(tmp_path, DISTINCT, Failing(draw_weights(DISTINCT, seed=5)), architecture="CLIPModel")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert_holds(tmp_path, weights)


def test_load_gives_the_weights_in_the_order_of_the_table(tmp_path):
    weights = save(tmp_path, max_shard_size="20KB")
    loaded = load_checkpoint(tmp_path, CLIPConfig)
    assert list(loaded.weights) == list(weights)
    assert loaded.dtype == "float32"
    tower = load_checkpoint(tmp_path, CLIPTextConfig, projection=True)
    assert tower.config == DISTINCT.text_config
    assert list(tower.weights)[-1] == "text_projection.weight"


def test_a_checkpoint_of_other_sizes_is_a_mismatch(tmp_path):
    save(tmp_path)
    with pytest.raises(WeightMismatchError, match="vision_model"):
        load_checkpoint(tmp_path, CLIPConfig, config=CLIPConfig(text_config=DISTINCT.text_config))


def test_foreign_weights_are_pointed_at_the_converter(tmp_path):
    (tmp_path / "flax_model.msgpack").touch()
    with pytest.raises(CheckpointNotFoundError, match=r"flax_model\.msgpack: convert that with `triclip convert`"):
        StoredWeights(tmp_path)


OTHER = replace(DISTINCT, text_config=replace(DISTINCT.text_config, hidden_act="gelu"))


def save_other(directory, **options):
    weights = dict(draw_weights(OTHER, seed=2))
    save_checkpoint(directory, OTHER, weights, architecture="CLIPModel", **options)
    return weights


@pytest.mark.parametrize("size", ["5GB", "20KB"])
def test_what_is_opened_is_read_to_the_end_whatever_takes_its_place(tmp_path, size):
    weights = save(tmp_path, seed=1, max_shard_size=size)
    loaded = load_checkpoint(tmp_path, CLIPConfig)
    save_other(tmp_path, max_shard_size=size)
    for name, value in weights.items():
        np.testing.assert_array_equal(loaded.weights[name], value)
    loaded.check_unchanged()
    assert load_checkpoint(tmp_path, CLIPConfig).config == OTHER


@pytest.mark.parametrize("size", ["5GB", "20KB"])
@pytest.mark.parametrize("before", ["open_weights", "SourceFile"])
def test_a_save_between_two_files_makes_no_mixture(tmp_path, monkeypatch, size, before):
    save(tmp_path, seed=1, max_shard_size=size)
    module = directory if before == "open_weights" else files_of_weights
    original, saved = getattr(module, before), []

    def save_first(path, *choice):
        if not saved:
            saved.append(save_other(tmp_path, max_shard_size=size))
        return original(path, *choice)

    monkeypatch.setattr(module, before, save_first)
    loaded = load_checkpoint(tmp_path, CLIPConfig)
    assert loaded.config == OTHER
    for name, value in saved[0].items():
        np.testing.assert_array_equal(loaded.weights[name], value)


def test_a_checkpoint_that_never_rests_is_an_error(tmp_path, monkeypatch):
    save(tmp_path)
    original = directory.open_weights

    def save_always(path, choice):
        save(tmp_path)
        return original(path, choice)

    monkeypatch.setattr(directory, "open_weights", save_always)
    monkeypatch.setattr(directory, "_PAUSE", 0)
    with pytest.raises(CheckpointError, match="changed while it was read"):
        load_checkpoint(tmp_path, CLIPConfig)


def edit_index(directory, change):
    index = directory / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda names: names.update(stranger=next(iter(names.values()))), "in the index only"),
        (lambda names: names.pop("logit_scale"), "in the file only"),
        (lambda names: names.update(logit_scale="../elsewhere.safetensors"), "file names in the same directory"),
        (lambda names: names.update(logit_scale="x" * 300), "file names in the same directory"),
        (lambda names: names.update(logit_scale=3), "weight_map"),
    ],
)
def test_an_index_that_disagrees_with_its_shards_is_refused(tmp_path, change, problem):
    save(tmp_path, max_shard_size="20KB")
    edit_index(tmp_path, change)
    with pytest.raises(CheckpointFormatError, match=problem):
        StoredWeights(tmp_path)


def test_a_missing_shard_is_named(tmp_path):
    save(tmp_path, max_shard_size="20KB")
    lost = next(tmp_path.glob("model-00002-*"))
    lost.unlink()
    with pytest.raises(CheckpointNotFoundError, match=lost.name):
        StoredWeights(tmp_path)


@pytest.mark.parametrize(("text", "bytes_"), [("5GB", 5e9), ("200 MiB", 200 * 2**20), ("1.5kb", 1500), (77, 77)])
def test_sizes(text, bytes_):
    assert parse_size(text) == bytes_


@pytest.mark.parametrize("text", ["", "GB", "-3MB", "5XB", 0])
def test_no_size(text):
    with pytest.raises(InputError, match="max_shard_size"):
        parse_size(text)
