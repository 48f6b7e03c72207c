"""The weights of every backend's models, on `ArrayModel`."""

import numpy as np
import pytest

from clip_core.errors import InputTypeError, WeightMismatchError
from clip_core.model_weights import module_at
from clip_core.tests.array_model import WEIGHTS, ArrayModel, TextArrayModel, assert_same
from clip_core.tests.sizes import DISTINCT


def test_weights_lie_in_the_layout_of_the_backend_and_come_back_in_that_of_checkpoints():
    model = ArrayModel(DISTINCT, weights=WEIGHTS)
    assert_same(model.named_weights(), WEIGHTS)
    kernel = model.text_model.encoder.layers[1].mlp.fc1.kernel
    np.testing.assert_array_equal(kernel, WEIGHTS["text_model.encoder.layers.1.mlp.fc1.weight"].T)
    conv = model.vision_model.embeddings.patch_embedding.kernel
    stored = WEIGHTS["vision_model.embeddings.patch_embedding.weight"]
    np.testing.assert_array_equal(conv, stored.transpose(2, 3, 1, 0))


def test_the_order_of_given_weights_does_not_matter_and_a_tower_takes_its_part():
    backwards = dict(reversed(WEIGHTS.items()))
    assert_same(ArrayModel(DISTINCT, weights=backwards).named_weights(), WEIGHTS)
    tower = TextArrayModel(DISTINCT.text_config, weights=WEIGHTS)
    assert all(name.startswith("text_model.") for name in tower.named_weights())


def test_without_weights_they_are_drawn():
    assert_same(ArrayModel(DISTINCT, seed=3).named_weights(), WEIGHTS)


def test_two_swapped_matrices_of_different_shapes_are_a_mismatch():
    first, second = "text_projection.weight", "visual_projection.weight"
    swapped = {**WEIGHTS, first: WEIGHTS[second], second: WEIGHTS[first]}
    with pytest.raises(WeightMismatchError, match=r"ArrayModel\(weights=\)") as error:
        ArrayModel(DISTINCT, weights=swapped)
    assert "+ text_projection.weight [18, 20]: the shape that is there" in str(error.value)
    assert "+ visual_projection.weight [18, 24]: the shape that is there" in str(error.value)


@pytest.mark.parametrize("weights", [list(WEIGHTS.items()), iter(WEIGHTS.items()), 3])
def test_what_is_no_mapping_is_named(weights):
    with pytest.raises(InputTypeError, match="expected a mapping from names to NumPy arrays"):
        ArrayModel(DISTINCT, weights=weights)


def test_what_is_no_array_is_named():
    with pytest.raises(InputTypeError, match="got float for 'logit_scale'"):
        ArrayModel(DISTINCT, weights={**WEIGHTS, "logit_scale": 1.0})


def test_what_is_no_name_is_named():
    with pytest.raises(InputTypeError, match="expected names with NumPy arrays, got ndarray for 3"):
        ArrayModel(DISTINCT, weights={**WEIGHTS, 3: np.zeros(2)})


def test_another_byte_order_is_read():
    swapped = {name: value.astype(value.dtype.newbyteorder()) for name, value in WEIGHTS.items()}
    assert_same(ArrayModel(DISTINCT, weights=swapped).named_weights(), WEIGHTS)


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            lambda model: setattr(model, "head", np.zeros((3, 5))),
            ["+ head [3, 5]: has no place in a checkpoint"],
        ),
        (
            lambda model: setattr(model.text_projection, "bias", np.zeros(18)),
            ["+ text_projection.bias [18]: has no place"],
        ),
        (
            lambda model: delattr(model.text_model.encoder.layers, "1"),
            ["- text_model.encoder.layers.1.layer_norm1.weight [24]: cannot be read: "],
        ),
        (
            lambda model: setattr(model.text_model.embeddings.token_embedding, "embeddings", np.zeros((5, 24))),
            [
                "- text_model.embeddings.token_embedding.weight [",
                "+ text_model.embeddings.token_embedding.weight [5, 24]: in the model, float64",
            ],
        ),
        (
            lambda model: setattr(model.text_projection, "kernel", np.zeros((24, 18), np.int8)),
            ["+ text_projection.weight [18, 24]: in the model, int8"],
        ),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_named_and_nothing_is_written(tmp_path, change, lines):
    model = ArrayModel(DISTINCT, weights=WEIGHTS)
    change(model)
    with pytest.raises(WeightMismatchError, match=r"ArrayModel\.save_pretrained: nothing was written") as error:
        model.save_pretrained(tmp_path / "checkpoint")
    for line in lines:
        assert line in str(error.value)
    assert not (tmp_path / "checkpoint").exists()


def test_the_module_at_an_empty_path_is_the_model():
    model = ArrayModel(DISTINCT)
    assert module_at(model, "") is model
    assert module_at(model, "text_model.encoder.layers.1") is model.text_model.encoder.layers[1]
