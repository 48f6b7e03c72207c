"""What is saved is what is loaded, byte for byte, whole or in shards, by every class; the rest is refused."""

import numpy as np
import pytest
from safetensors import safe_open

from conformance_tests.adapter import KINDS, config_of, specs_of
from conformance_tests.cases import text_inputs
from conformance_tests.comparison import equal


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("max_shard_size", ["5GB", 9000], ids=["one file", "shards"])
def test_saved_and_loaded(backend, each_tower, tmp_path, dtype, max_shard_size):
    model = backend.build("model", each_tower.config, each_tower.weights, dtype=dtype)
    backend.save(model, tmp_path, max_shard_size=max_shard_size)
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (max_shard_size != "5GB")
    loaded = backend.load("model", tmp_path, dtype="auto")
    equal("loaded", backend.weights(loaded), backend.weights(model))
    assert loaded.config == each_tower.config


def test_loaded_in_float32(backend, each_tower, tmp_path):
    """Whatever the dtype of the file, unless another is asked for."""
    model = backend.build("model", each_tower.config, each_tower.weights, dtype="bfloat16")
    backend.save(model, tmp_path)
    dtypes = {spec.name: spec.dtype_in("float32") for spec in specs_of("model", each_tower.config)}
    widened = {name: value.astype(dtypes[name]) for name, value in backend.weights(model).items()}
    equal("loaded", backend.weights(backend.load("model", tmp_path)), widened)


@pytest.mark.parametrize("kind", KINDS)
def test_class_reads_its_part_of_a_full_checkpoint(backend, each_tower, tmp_path, kind):
    backend.save(backend.build("model", each_tower.config, each_tower.weights), tmp_path)
    expected = {spec.name: each_tower.weights[spec.name] for spec in specs_of(kind, each_tower.config)}
    equal(kind, backend.weights(backend.load(kind, tmp_path)), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_class_saves_and_loads_itself(backend, each_tower, tmp_path, kind):
    given = {spec.name: each_tower.weights[spec.name] for spec in specs_of(kind, each_tower.config)}
    backend.save(backend.build(kind, config_of(kind, each_tower.config), given), tmp_path)
    equal(kind, backend.weights(backend.load(kind, tmp_path)), given)


def test_file_holds_the_shared_names(backend, each_tower, tmp_path):
    """What other libraries see: names, shapes, and the header that transformers 4 insists on."""
    backend.save(backend.build("model", each_tower.config, each_tower.weights), tmp_path)
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert file.metadata()["format"] == "pt"
        stored = {name: file.get_tensor(name) for name in each_tower.weights}
        assert set(file.keys()) == set(each_tower.weights)
    equal("the file", stored, each_tower.weights)


def test_checkpoint_of_the_framework_holds_every_weight(backend, each_tower, tmp_path):
    model = backend.build("model", each_tower.config, each_tower.weights)
    other = backend.build("model", each_tower.config, None, seed=3)
    equal("restored", backend.weights(backend.restored(model, other, tmp_path)), each_tower.weights)


def test_adapter_is_saved_merged_or_refused(backend, base, tmp_path):
    inputs = text_inputs(base.config.text_config, 3)

    def features(model):
        return backend.to_array(backend.call(model, "get_text_features", **inputs))

    model = backend.adapted(backend.build("model", base.config, base.weights))
    adapted = features(model)
    assert np.abs(adapted - features(backend.build("model", base.config, base.weights))).max() > 0.1
    try:
        backend.save(model, tmp_path)
    except ValueError:
        assert not list(tmp_path.iterdir()), "it was written in part"
    else:
        np.testing.assert_allclose(features(backend.load("model", tmp_path)), adapted, rtol=1e-5, atol=1e-5)
