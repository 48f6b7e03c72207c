import numpy as np
import pytest

from clip_core.config import CLIPConfig
from clip_core.errors import WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_core.weights import AXES, match_weights, permutation, weight_specs

FULL = weight_specs(DISTINCT)
FLOAT32 = np.dtype(np.float32)
LAYOUT = {spec.name: (FLOAT32, spec.shape) for spec in FULL}


def test_the_base_model_has_the_published_number_of_parameters():
    total = 0
    for spec in weight_specs(CLIPConfig()):
        size = 1
        for axis in spec.shape:
            size *= axis
        total += size
    assert total == 151_277_313  # ViT-B/32


def test_names_are_unique_and_axes_fit_shapes():
    assert len(LAYOUT) == len(FULL)
    for spec in FULL:
        assert len(AXES[spec.kind].split()) == len(spec.shape), spec


def test_attributes_are_spelled_like_the_stored_names():
    assert "vision_model.pre_layrnorm.weight" in LAYOUT
    assert all(spec.name.startswith(spec.path) for spec in FULL)


@pytest.mark.parametrize(
    ("stored", "wanted", "expected"),
    [
        ("out in", "in out", (1, 0)),
        ("out in height width", "height width in out", (2, 3, 1, 0)),
        ("height width in out", "out in height width", (3, 2, 0, 1)),
        ("", "", ()),
    ],
)
def test_permutation(stored, wanted, expected):
    assert permutation(stored, wanted) == expected


def test_all_problems_are_in_one_message_and_the_caller_keeps_the_data():
    stored = dict(LAYOUT, stranger=(FLOAT32, (3, 4)))
    del stored["text_model.final_layer_norm.bias"]
    stored["text_projection.weight"] = (FLOAT32, (24, 18))
    stored["vision_model.post_layernorm.bias"] = (np.dtype(np.int8), (20,))
    before = dict(stored)
    with pytest.raises(WeightMismatchError) as error:
        match_weights(FULL, stored, "checkpoint")
    message = str(error.value)
    assert "- text_model.final_layer_norm.bias [24]: missing" in message
    assert "+ stranger [3, 4]: unexpected" in message
    assert "- text_projection.weight [18, 24]" in message
    assert "+ text_projection.weight [24, 18]" in message
    assert "+ vision_model.post_layernorm.bias [20]: int8; weights are float64, float32" in message
    assert stored == before


def test_old_position_ids_are_ignored_and_a_logit_scale_of_one_element_fits():
    stored = dict(LAYOUT, logit_scale=(FLOAT32, (1,)))
    stored["text_model.embeddings.position_ids"] = (np.dtype(np.int64), (1, 11))
    assert match_weights(FULL, stored, "checkpoint")["logit_scale"] == "logit_scale"


@pytest.mark.parametrize("projection", [False, True])
def test_a_tower_takes_its_part_of_a_full_checkpoint(projection):
    for tower in (DISTINCT.text_config, DISTINCT.vision_config):
        specs = weight_specs(tower, projection=projection)
        assert set(match_weights(specs, LAYOUT, "checkpoint")) == {spec.name for spec in specs}


@pytest.mark.parametrize("tower", [DISTINCT.text_config, DISTINCT.vision_config])
def test_a_tower_is_found_without_its_prefix(tower):
    specs = weight_specs(tower)
    bare = {spec.name.partition(".")[2]: (FLOAT32, spec.shape) for spec in specs}
    matched = match_weights(specs, bare, "checkpoint")
    assert all(name.endswith(stored) for name, stored in matched.items())
    with pytest.raises(WeightMismatchError, match="unexpected"):
        match_weights(specs, dict(bare, **{"encoder.layers.9.mlp.fc1.bias": (FLOAT32, (2,))}), "checkpoint")


def test_weights_inside_something_else_are_sent_to_the_converter():
    wrapped = {f"state_dict.{name}": value for name, value in LAYOUT.items()}
    with pytest.raises(WeightMismatchError, match="`triclip convert` takes them out"):
        match_weights(FULL, wrapped, "checkpoint")


def test_the_other_tower_alone_is_a_mismatch():
    vision_only = {spec.name: (FLOAT32, spec.shape) for spec in weight_specs(DISTINCT.vision_config)}
    with pytest.raises(WeightMismatchError, match="missing"):
        match_weights(weight_specs(DISTINCT.text_config), vision_only, "checkpoint")


@pytest.mark.parametrize(
    ("specs", "prefix"),
    [
        (FULL, "vision_model."),
        (weight_specs(DISTINCT.vision_config), "vision_model."),
        (weight_specs(DISTINCT.vision_config), ""),
    ],
)
def test_the_clean_spelling_of_a_layer_norm_is_read(specs, prefix):
    stored = {
        spec.name.replace("pre_layrnorm", "pre_layernorm").replace("vision_model.", prefix): (FLOAT32, spec.shape)
        for spec in specs
    }
    names = match_weights(specs, stored, "checkpoint")
    assert names["vision_model.pre_layrnorm.weight"] == f"{prefix}pre_layernorm.weight"


def test_both_spellings_of_a_layer_norm_are_one_too_many():
    stored = dict(LAYOUT, **{"vision_model.pre_layernorm.weight": (FLOAT32, (20,))})
    with pytest.raises(WeightMismatchError, match=r"\+ vision_model.pre_layernorm.weight \[20\]: unexpected"):
        match_weights(FULL, stored, "checkpoint")
