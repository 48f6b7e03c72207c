"""A text tower that runs as a graph is still the tower that somebody has."""

import copy
import gc
import weakref
from dataclasses import replace

import keras
import numpy as np
import pytest

from clip_core.errors import InputError
from clip_core.tests.sizes import DISTINCT
from clip_tf import TFCLIPModel
from clip_tf.text import TextTransformer

SHALLOW = replace(DISTINCT, text_config=replace(DISTINCT.text_config, num_hidden_layers=1))
IDS = np.arange(22, dtype=np.int32).reshape(2, 11)
IDS[:, 3:] = DISTINCT.text_config.eos_token_id


@pytest.fixture
def model():
    return TFCLIPModel(SHALLOW, seed=3)


def graphs_of(model):
    kept = vars(model.text_model).get("graphs_of_pooled_output")
    return len(kept.by_inputs) if kept else 0


def test_one_graph_for_all_sizes_from_the_second_call_on(model):
    first = model.get_text_features(IDS)
    assert graphs_of(model) == 0
    np.testing.assert_allclose(model.get_text_features(IDS), first, atol=1e-6)
    longer = IDS.copy()
    longer[:, 3:6] = 7
    for ids in (longer, IDS[:1]):
        expected = model.text_projection(model.text_model(input_ids=ids).pooler_output)
        np.testing.assert_allclose(model.get_text_features(ids), expected, atol=1e-5)
    assert graphs_of(model) == 1


def other_weights(model):
    kernel = model.text_model.encoder.layers[0].mlp.fc1.kernel
    kernel.assign(kernel * 2)


def other_activation(model):
    model.text_model.encoder.layers[0].mlp.activation_fn = keras.ops.relu


def adapter(model):
    layer = model.text_model.encoder.layers[0].mlp.fc1
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.ones_like(layer.lora_kernel_b))


def other_pooling(model):
    model.text_model.pool = lambda states, ids: states[:, 0]


CHANGES = {
    "weights": other_weights,
    "activation": other_activation,
    "adapter": adapter,
    "pooling": other_pooling,
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_is_computed(model, change):
    before = [model.get_text_features(IDS) for _ in range(3)][-1]
    CHANGES[change](model)
    expected = model.text_projection(model.text_model(input_ids=IDS).pooler_output)
    assert np.abs(expected - before).max() > 1e-4
    for _ in range(3):
        np.testing.assert_allclose(model.get_text_features(IDS), expected, atol=1e-5)


def test_code_of_others_sees_every_call(model):
    """A graph would run it once, and give it no values."""
    block, seen = model.text_model.encoder.layers[0], []
    ours = block.call

    def call(*args, **options):
        output = ours(*args, **options)
        seen.append(output[0].numpy().shape)
        return output

    block.call = call
    for _ in range(3):
        model.get_text_features(IDS)
    assert len(seen) == 3


def test_weights_of_a_stateless_scope_are_computed_and_stay_in_it(model):
    expected = model.get_text_features(IDS)
    with keras.StatelessScope(state_mapping=[(weight, weight.value * 2) for weight in model.trainable_variables]):
        inside = model.get_text_features(IDS)
    assert np.abs(inside - expected).max() > 1e-3
    np.testing.assert_allclose(model.get_text_features(IDS), expected, atol=1e-5)


class OtherTower(TextTransformer):
    """Whose inputs are not cut, and so not checked before."""


def test_errors_are_those_of_a_first_call(model):
    model.text_model.__class__ = OtherTower
    model.get_text_features(IDS)
    for _ in range(2):
        with pytest.raises(InputError, match="input_ids"):
            model.get_text_features(IDS - 30)


def test_a_tower_with_graphs_is_saved_and_copied(model, tmp_path):
    expected = [model.get_text_features(IDS) for _ in range(3)][-1]
    model.save(tmp_path / "model.keras")
    for other in (keras.saving.load_model(tmp_path / "model.keras"), copy.deepcopy(model)):
        assert graphs_of(other) == 0
        np.testing.assert_allclose(other.get_text_features(IDS), expected, atol=1e-5)


def test_a_tower_with_graphs_is_freed():
    model = TFCLIPModel(SHALLOW, seed=3)
    for _ in range(3):
        model.get_text_features(IDS)
    tower = weakref.ref(model.text_model)
    del model
    gc.collect()
    assert tower() is None
