"""The base class of every backend's models, on a backend that is made of NumPy arrays and nothing else."""

import os
from types import SimpleNamespace

import numpy as np
import pytest

from clip_core.config import CLIPConfig, CLIPTextConfig
from clip_core.errors import CheckpointError, InputTypeError, WeightMismatchError
from clip_core.initialization import draw_weights
from clip_core.pretrained import PretrainedModel, module_at
from clip_core.schemes import KERAS
from clip_core.tests.sizes import DISTINCT

WEIGHTS = dict(draw_weights(DISTINCT, seed=3))


class ArrayModel(PretrainedModel):
    """Parameters are attributes of namespaces, in the layout of Keras."""

    config_class = CLIPConfig
    architecture = "CLIPModel"
    has_projection = True
    scheme = KERAS

    def __init__(self, config, *, seed=0, dtype=None, weights=None):
        self.config = self.checked_config(config)
        self.make_layers(config)
        for owner, leaf, value in self.initial_values(seed, weights):
            setattr(owner, leaf, np.array(value, dtype or np.float32))

    def make_layers(self, config):
        for spec in self.weight_specs():
            owner = self
            for step in self.scheme.place(spec)[0].split(".") if self.scheme.place(spec)[0] else []:
                owner = owner.__dict__.setdefault(step, Numbered())

    @staticmethod
    def to_array(parameter):
        return parameter

    def held_parameters(self):
        return dict(arrays_in(self, ""))


def arrays_in(module, prefix):
    for name, value in vars(module).items():
        if isinstance(value, np.ndarray):
            yield f"{prefix}{name}", value
        elif isinstance(value, Numbered):
            yield from arrays_in(value, f"{prefix}{name}.")


class Numbered(SimpleNamespace):
    """A module that is also a list of modules."""

    def __getitem__(self, index):
        return getattr(self, str(index))


class TextArrayModel(ArrayModel):
    config_class = CLIPTextConfig
    architecture = "CLIPTextModel"
    has_projection = False


def assert_same(weights, others):
    assert list(weights) == list(others)
    for name, value in others.items():
        np.testing.assert_array_equal(weights[name], value)


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


def test_a_configuration_of_another_class_is_named():
    with pytest.raises(InputTypeError, match="TextArrayModel: expected a CLIPTextConfig, got CLIPConfig"):
        TextArrayModel(DISTINCT)


@pytest.mark.parametrize("size", ["5GB", "20KB"])
def test_a_saved_model_is_loaded_again(tmp_path, size):
    model = ArrayModel(DISTINCT, weights=WEIGHTS)
    model.save_pretrained(tmp_path, max_shard_size=size)
    assert_same(ArrayModel.from_pretrained(tmp_path).named_weights(), WEIGHTS)
    assert_same(ArrayModel.from_directory(tmp_path).named_weights(), WEIGHTS)
    text = TextArrayModel.from_pretrained(tmp_path)
    assert text.config == DISTINCT.text_config.__class__(**{**vars(DISTINCT.text_config), "projection_dim": 18})


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


def test_dtype_auto_is_that_of_the_stored_weights(tmp_path):
    ArrayModel(DISTINCT, dtype=np.float16).save_pretrained(tmp_path)
    assert ArrayModel.from_pretrained(tmp_path, dtype="auto").logit_scale.dtype == np.float16
    assert ArrayModel.from_pretrained(tmp_path).logit_scale.dtype == np.float32


def test_gradient_checkpointing_is_switched_in_every_tower():
    model = ArrayModel(DISTINCT)
    model.gradient_checkpointing_enable()
    assert model.text_model.encoder.gradient_checkpointing
    assert model.vision_model.encoder.gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.text_model.encoder.gradient_checkpointing


def test_the_module_at_an_empty_path_is_the_model():
    model = ArrayModel(DISTINCT)
    assert module_at(model, "") is model
    assert module_at(model, "text_model.encoder.layers.1") is model.text_model.encoder.layers[1]


def test_weights_that_are_written_over_while_they_are_read_are_an_error(tmp_path):
    ArrayModel(DISTINCT, weights=WEIGHTS).save_pretrained(tmp_path)
    os.utime(tmp_path / "model.safetensors", (0, 0))

    class Disturbed(ArrayModel):
        def make_layers(self, config):
            super().make_layers(config)
            with open(tmp_path / "model.safetensors", "r+b") as file:
                file.seek(-8, 2)
                file.write(bytes(8))

    with pytest.raises(CheckpointError, match=r"model\.safetensors: changed while it was read"):
        Disturbed.from_pretrained(tmp_path)
