import numpy as np
import pytest

from clip_core.checkpoint.directory import load_checkpoint
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import ConfigError, InputError
from clip_core.initialization import draw_weights
from clip_core.interpolation import antialiased_matrix, linear_matrix, position_matrix, stretched_matrix
from clip_core.positions import NewSizes

TEXT, VISION = "text_model.embeddings.position_embedding.weight", "vision_model.embeddings.position_embedding.weight"
CONFIG = CLIPConfig(
    projection_dim=5,
    text_config=CLIPTextConfig(
        hidden_size=6, intermediate_size=7, num_attention_heads=2, num_hidden_layers=1, vocab_size=11, eos_token_id=10
    ),
    vision_config=CLIPVisionConfig(
        hidden_size=8, intermediate_size=9, num_attention_heads=4, num_hidden_layers=1, image_size=28, patch_size=4
    ),
)


@pytest.fixture(scope="module")
def weights():
    return {name: np.asarray(value) for name, value in draw_weights(CONFIG, seed=5)}


@pytest.fixture(scope="module")
def directory(weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(path, CONFIG, weights, architecture="CLIPModel")
    return path


def loaded(directory, config_class=CLIPConfig, **sizes):
    return NewSizes(**sizes).applied(load_checkpoint(directory, config_class))


@pytest.mark.parametrize(
    ("recipe", "matrix"),
    [({}, antialiased_matrix), ({"vision_positions": "transformers"}, position_matrix)],
)
def test_patches_fit_another_image_size_and_the_class_token_stays(directory, weights, recipe, matrix):
    found = loaded(directory, image_size=20, **recipe)
    assert found.config.vision_config.image_size == 20
    assert found.config.text_config == CONFIG.text_config
    table = found.weights[VISION]
    np.testing.assert_array_equal(table[0], weights[VISION][0])
    np.testing.assert_allclose(table[1:], matrix(7, 5, 5) @ weights[VISION][1:], atol=1e-7)
    assert found.weights.layout()[VISION] == (np.dtype(np.float32), (26, 8))
    np.testing.assert_array_equal(found.weights[TEXT], weights[TEXT])


@pytest.mark.parametrize(
    ("recipe", "length", "matrix"), [("open_clip", 40, linear_matrix), ("longclip", 248, stretched_matrix)]
)
def test_texts_of_another_length(directory, weights, recipe, length, matrix):
    found = loaded(directory, CLIPTextConfig, max_position_embeddings=length, text_positions=recipe)
    assert found.config.max_position_embeddings == length
    np.testing.assert_allclose(found.weights[TEXT], matrix(77, length) @ weights[TEXT], atol=1e-7)


def test_a_table_keeps_its_dtype(directory, tmp_path, weights):
    narrow = {name: value.astype(np.float16) for name, value in weights.items()}
    save_checkpoint(tmp_path, CONFIG, narrow, architecture="CLIPModel")
    table = loaded(tmp_path, image_size=48).weights[VISION]
    assert table.dtype == np.float16
    expected = antialiased_matrix(7, 12, 12) @ narrow[VISION][1:].astype(np.float64)
    np.testing.assert_array_equal(table[1:], expected.astype(np.float16))


@pytest.mark.parametrize("sizes", [{}, {"image_size": 28}, {"image_size": 31}, {"max_position_embeddings": 77}])
def test_as_many_positions_as_there_are_stay_as_they_are(directory, weights, sizes):
    found = loaded(directory, **sizes)
    assert found.config.vision_config.image_size == sizes.get("image_size", 28)
    assert all(np.array_equal(found.weights[name], weights[name]) for name in (TEXT, VISION))


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        (
            {"max_position_embeddings": 9},
            InputError,
            "has 77 positions. Say how they become 9: text_positions='open_clip'",
        ),
        (
            {"max_position_embeddings": 9, "text_positions": "cut"},
            InputError,
            "one of 'open_clip', 'longclip', got 'cut'",
        ),
        (
            {"max_position_embeddings": 250, "text_positions": "longclip"},
            InputError,
            r"20 \+ n \* 57, such as 248; got 250",
        ),
        ({"max_position_embeddings": 40, "text_positions": "longclip"}, InputError, "a whole number of times"),
        ({"vision_positions": "open_clip"}, InputError, "expected image_size= beside it"),
        ({"image_size": 20, "vision_positions": "nearest"}, InputError, "one of 'open_clip', 'transformers'"),
        ({"image_size": 3}, ConfigError, "image_size: expected at least patch_size 4"),
        ({"image_size": (20, 28)}, ConfigError, "image_size: expected an integer"),
    ],
)
def test_what_cannot_be_meant_is_refused(directory, sizes, error, message):
    with pytest.raises(error, match=message):
        loaded(directory, **sizes)


def test_the_pooling_of_a_resnet_fits_another_image_size(tmp_path):
    vision = CLIPVisionConfig(stage_depths=(1, 1, 1, 1), hidden_size=64, num_attention_heads=2, image_size=96)
    weights = {name: np.asarray(value) for name, value in draw_weights(vision, seed=2)}
    save_checkpoint(tmp_path, vision, weights, architecture="CLIPVisionModel")
    found = loaded(tmp_path, CLIPVisionConfig, image_size=160)
    name = "vision_model.attnpool.positional_embedding"
    np.testing.assert_array_equal(found.weights[name][0], weights[name][0])
    np.testing.assert_allclose(found.weights[name][1:], antialiased_matrix(3, 5, 5) @ weights[name][1:], atol=1e-7)
    with pytest.raises(ConfigError, match="image_size: expected a multiple of 32"):
        loaded(tmp_path, CLIPVisionConfig, image_size=100)
