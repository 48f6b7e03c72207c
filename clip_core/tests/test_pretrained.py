"""The base class of every backend's models, on `ArrayModel`."""

import os

import numpy as np
import pytest

from clip_core.errors import CheckpointError, InputTypeError
from clip_core.tests.array_model import WEIGHTS, ArrayModel, TextArrayModel, assert_same
from clip_core.tests.sizes import DISTINCT


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


def test_dtype_auto_is_that_of_the_stored_weights(tmp_path):
    ArrayModel(DISTINCT, dtype=np.float16).save_pretrained(tmp_path)
    assert ArrayModel.from_pretrained(tmp_path, dtype="auto").logit_scale.dtype == np.float16
    assert ArrayModel.from_pretrained(tmp_path).logit_scale.dtype == np.float32


def test_dtype_auto_of_a_state_dict_is_that_of_the_weights_that_the_model_uses():
    halves = {name: value.astype(np.float16) if "text_model" in name else value for name, value in WEIGHTS.items()}
    model = TextArrayModel.from_pretrained(None, config=DISTINCT.text_config, state_dict=halves, dtype="auto")
    assert model.text_model.final_layer_norm.gamma.dtype == np.float16


def test_gradient_checkpointing_is_switched_in_every_tower():
    model = ArrayModel(DISTINCT)
    model.gradient_checkpointing_enable()
    assert model.text_model.encoder.gradient_checkpointing
    assert model.vision_model.encoder.gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.text_model.encoder.gradient_checkpointing


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
