import pytest

from clip_core.schemes import KERAS_FILES, TORCH
from clip_core.weights import WeightSpec
from weights_convert.names import LAYER, LAYER_SUFFIX, Names, Place, numbered

QUERY = WeightSpec(f"text_model.encoder.layers.{LAYER}.self_attn.q_proj", "linear", (2, 3))


def test_modules_separator_and_leaf_make_the_name():
    names = Names(
        scheme=KERAS_FILES,
        separator="/",
        modules={f"encoder.layers.{LAYER}": f"blocks/block{LAYER_SUFFIX}", "text_model": "text", "self_attn": "mha"},
        leaf="vars/{}",
    )
    assert names.place(QUERY) == Place("text/blocks/block{_i}/mha/q_proj/vars/0", "in out")


def test_axes_and_places_come_before_the_scheme():
    names = Names(scheme=TORCH, axes={("q_proj", "linear"): "in out"}, places={"logit_scale": Place("scale", "one")})
    assert names.place(QUERY).axes == "in out"
    assert names.place(WeightSpec("logit_scale", "scalar", ())) == Place("scale", "one")


@pytest.mark.parametrize(("number", "expected"), [(0, "a/0/b"), (1, "a/1/b_1"), (12, "a/12/b_12")])
def test_layers_are_numbered(number, expected):
    assert numbered(f"a/{LAYER}/b{LAYER_SUFFIX}", number) == expected


def test_a_tower_is_known_by_its_blocks_and_norms():
    text, vision = Names(scheme=TORCH).signatures
    assert "text_model.encoder.layers.0.mlp.fc1.weight" in text
    assert "vision_model.pre_layrnorm.weight" in vision
    assert not text & vision
