"""Position embeddings of other sizes: resampled when a checkpoint is loaded, and in a call; as other libraries do."""

import dataclasses

import numpy as np
import pytest

from clip_core.config import CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputError
from clip_core.interpolation import antialiased_matrix
from clip_core.weights import weight_specs
from conformance_tests.ladder.position_references import HIDDEN, IMAGES, TEXTS, read_references

PATCH = 2
WITHIN = 1e-6
TEXT = CLIPTextConfig(
    vocab_size=13, hidden_size=HIDDEN, intermediate_size=10, num_attention_heads=3, num_hidden_layers=1, eos_token_id=11
)
TABLES = {"vision": "vision_model.embeddings.position_embedding.weight"}
TABLES["text"] = "text_model.embeddings.position_embedding.weight"


@pytest.fixture(scope="module")
def references():
    return read_references()


def vision_config(side):
    sizes = {"intermediate_size": 10, "num_attention_heads": 3, "num_hidden_layers": 1}
    return CLIPVisionConfig(hidden_size=HIDDEN, patch_size=PATCH, image_size=PATCH * side, **sizes)


def model_with(backend, kind, config, table):
    """A tower whose weights are zero but for this table of positions."""
    weights = {spec.name: np.zeros(spec.shape, np.float32) for spec in weight_specs(config)}
    return backend.build(kind, config, {**weights, TABLES[kind]: table})


@pytest.mark.parametrize(("side", "grid"), [(side, grid) for side, grid in IMAGES if grid[0] == grid[1]])
@pytest.mark.parametrize("recipe", ["open_clip", "transformers"])
def test_loaded_for_another_image_size(backend, references, tmp_path, recipe, side, grid):
    config = vision_config(side)
    backend.save(model_with(backend, "vision", config, references[f"image {side}"]), tmp_path)
    options = {} if recipe == "open_clip" else {"vision_positions": recipe}
    model = backend.load("vision", tmp_path, image_size=PATCH * grid[0], **options)
    assert model.config == dataclasses.replace(config, image_size=PATCH * grid[0])
    expected = references[f"{recipe} {side} {grid[0]}x{grid[1]}"]
    np.testing.assert_allclose(backend.weights(model)[TABLES["vision"]], expected, rtol=0, atol=WITHIN)


@pytest.mark.parametrize(("side", "grid"), IMAGES)
def test_the_matrix_that_every_backend_multiplies_by(references, side, grid):
    """Also for a rectangle, which no configuration can have."""
    table = references[f"image {side}"][1:]
    expected = references[f"open_clip {side} {grid[0]}x{grid[1]}"][1:]
    np.testing.assert_allclose(antialiased_matrix(side, *grid) @ table, expected, rtol=0, atol=WITHIN)


@pytest.mark.parametrize(("side", "grid"), IMAGES)
def test_in_a_call(backend, references, side, grid):
    model = model_with(backend, "vision", vision_config(side), references[f"image {side}"])
    dark = np.zeros((1, 3, PATCH * grid[0], PATCH * grid[1]), np.float32)
    positions = backend.to_array(backend.call(model, "vision_model.embeddings", dark))[0]
    expected = references[f"transformers {side} {grid[0]}x{grid[1]}"]
    np.testing.assert_allclose(positions, expected, rtol=0, atol=WITHIN)


@pytest.mark.parametrize(("recipe", "length"), TEXTS)
def test_loaded_for_longer_texts(backend, references, tmp_path, recipe, length):
    backend.save(model_with(backend, "text", TEXT, references["text 77"]), tmp_path)
    model = backend.load("text", tmp_path, max_position_embeddings=length, text_positions=recipe)
    assert model.config == dataclasses.replace(TEXT, max_position_embeddings=length)
    expected = references[f"{recipe} 77 {length}"]
    np.testing.assert_allclose(backend.weights(model)[TABLES["text"]], expected, rtol=0, atol=WITHIN)


def test_a_resampled_model_runs_and_is_saved_with_its_new_sizes(backend, base, tmp_path):
    backend.save(backend.build("model", base.config, base.weights), tmp_path / "before")
    text, vision = base.config.text_config, base.config.vision_config
    size = vision.image_size + 2 * vision.patch_size
    more = {"max_position_embeddings": text.max_position_embeddings + 6, "text_positions": "open_clip"}
    model = backend.load("model", tmp_path / "before", image_size=size, **more)
    ids = np.full((2, text.max_position_embeddings + 6), 5)
    ids[:, -1] = text.vocab_size - 1 if text.eos_token_id == 2 else text.eos_token_id
    inputs = {"input_ids": ids, "pixel_values": np.ones((3, vision.num_channels, size, size), np.float32)}
    before = backend.to_array(backend.call(model, "", **inputs).logits_per_image)
    backend.save(model, tmp_path / "after")
    loaded = backend.load("model", tmp_path / "after")
    assert loaded.config.vision_config.image_size == size
    np.testing.assert_array_equal(backend.to_array(backend.call(loaded, "", **inputs).logits_per_image), before)


def test_a_longer_text_is_never_made_without_a_word(backend, base, tmp_path):
    backend.save(backend.build("model", base.config, base.weights), tmp_path)
    with pytest.raises(InputError, match="text_positions='open_clip' spreads all of them evenly, 'longclip' keeps"):
        backend.load("model", tmp_path, max_position_embeddings=base.config.text_config.max_position_embeddings + 1)


def test_the_pooling_of_a_resnet_is_loaded_for_another_image_size(backend, resnet, tmp_path):
    backend.save(backend.build("model", resnet.config, resnet.weights), tmp_path)
    side, size = resnet.config.vision_config.patches_per_side, resnet.config.vision_config.image_size + 64
    model = backend.load("model", tmp_path, image_size=size)
    name = "vision_model.attnpool.positional_embedding"
    table = resnet.weights[name]
    expected = np.concatenate([table[:1], antialiased_matrix(side, side + 2, side + 2) @ table[1:]])
    np.testing.assert_allclose(backend.weights(model)[name], expected, rtol=0, atol=WITHIN)
    pixels = np.ones((1, resnet.config.vision_config.num_channels, size, size), np.float32)
    assert np.isfinite(backend.to_array(backend.call(model, "get_image_features", pixel_values=pixels))).all()
