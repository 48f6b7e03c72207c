"""Members that code around models of transformers touches."""

import jax.numpy as jnp
import numpy as np
import pytest

from clip_core.errors import InputError
from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPModel, FlaxCLIPTextModel

IDS = np.array([[5, 7, DISTINCT.text_config.eos_token_id]])


def test_more_tokens_change_no_old_text_and_are_saved_and_loaded(tmp_path):
    model = FlaxCLIPModel(DISTINCT, seed=3, dtype="bfloat16")
    expected = model.get_text_features(IDS)
    layer = model.resize_token_embeddings(63, pad_to_multiple_of=8)
    assert layer is model.get_input_embeddings()
    assert (layer.embedding.shape, layer.embedding.dtype, layer.num_embeddings) == ((64, 24), jnp.bfloat16, 64)
    np.testing.assert_array_equal(model.get_text_features(IDS), expected)
    new = np.array([[61, 63, DISTINCT.text_config.eos_token_id]])
    model.save_pretrained(tmp_path)
    loaded = FlaxCLIPModel.from_pretrained(tmp_path, dtype="bfloat16")
    np.testing.assert_array_equal(loaded.get_text_features(new), model.get_text_features(new))
    assert loaded.name_or_path == str(tmp_path)
    with pytest.raises(InputError, match="expected 0 to 63, got 61 to 64"):
        model.get_text_features(new + 1)


def test_parameters_are_counted():
    model = FlaxCLIPTextModel(DISTINCT.text_config)
    total = sum(value.size for value in model.named_weights().values())
    assert model.num_parameters() == model.num_parameters(only_trainable=True) == total
    assert model.num_parameters(exclude_embeddings=True) == total - 61 * 24 - 11 * 24
