"""Members that code around models of transformers touches."""

import keras
import numpy as np
import pytest

from clip_core.errors import InputError
from clip_core.tests.sizes import DISTINCT
from clip_tf import TFCLIPModel

IDS = np.array([[5, 7, DISTINCT.text_config.eos_token_id]])


def test_parameters_are_counted_and_the_model_knows_where_it_came_from(tmp_path):
    model = TFCLIPModel(DISTINCT)
    total = sum(value.size for value in model.named_weights().values())
    assert model.num_parameters() == total
    model.text_model.trainable = False
    text = sum(value.size for name, value in model.named_weights().items() if name.startswith("text_model."))
    assert model.num_parameters(only_trainable=True) == total - text
    assert model.num_parameters(exclude_embeddings=True) == total - 61 * 24 - 11 * 24 - 17 * 20
    model.save_pretrained(tmp_path)
    assert TFCLIPModel.from_pretrained(tmp_path).name_or_path == str(tmp_path)


def test_more_tokens_change_no_old_text_and_are_saved_and_loaded(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3, dtype="bfloat16")
    model.compile("sgd", jit_compile=False)
    expected, paths = model.get_text_features(IDS), [weight.path for weight in model.weights]
    model.predict({"input_ids": IDS, "pixel_values": np.zeros((1, 3, 30, 30), np.float32)}, verbose=0)
    layer = model.resize_token_embeddings(63, pad_to_multiple_of=8)
    assert layer is model.get_input_embeddings() is model.text_model.embeddings.token_embedding
    assert (layer.embeddings.shape, str(layer.embeddings.dtype), layer.input_dim) == ((64, 24), "bfloat16", 64)
    assert sorted(weight.path for weight in model.weights) == sorted(paths)
    np.testing.assert_array_equal(model.get_text_features(IDS), expected)
    new = np.array([[61, 63, DISTINCT.text_config.eos_token_id]])
    model.predict({"input_ids": new, "pixel_values": np.zeros((1, 3, 30, 30), np.float32)}, verbose=0)
    model.save_pretrained(tmp_path)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for loaded in (TFCLIPModel.from_pretrained(tmp_path, dtype="bfloat16"), again):
        np.testing.assert_array_equal(loaded.get_text_features(new), model.get_text_features(new))
    with pytest.raises(InputError, match="expected 0 to 63, got 61 to 64"):
        model.get_text_features(new + 1)


def test_a_table_that_is_trained_by_factors_keeps_its_size():
    model = TFCLIPModel(DISTINCT)
    model.get_input_embeddings().enable_lora(2)
    with pytest.raises(InputError, match="expected a plain table, got one with LoRA"):
        model.resize_token_embeddings(64)
    assert model.config == DISTINCT


def test_features_take_what_transformers_classes_take():
    model = TFCLIPModel(DISTINCT)
    same = {"output_attentions": True, "output_hidden_states": True, "return_dict": True}
    pixels = np.zeros((1, 3, 30, 30), np.float32)
    np.testing.assert_array_equal(model.get_text_features(IDS, **same), model.get_text_features(IDS))
    np.testing.assert_array_equal(model.get_image_features(pixels, **same), model.get_image_features(pixels))
