from math import prod

import numpy as np
import pytest

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import WeightMismatchError
from clip_core.tests.sizes import DISTINCT, RESNET
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


PUBLISHED_RESNETS = {  # stages, width of the stem, image, width of the text tower, embed; parameters, tensors
    "RN50": ((3, 4, 6, 3), 64, 224, 512, 1024, 102_007_137, 489),
    "RN101": ((3, 4, 23, 3), 64, 224, 512, 512, 119_688_033, 795),
    "RN50x4": ((4, 6, 10, 6), 80, 288, 640, 640, 178_300_601, 669),
    "RN50x16": ((6, 8, 18, 8), 96, 384, 768, 768, 290_979_217, 921),
    "RN50x64": ((3, 15, 36, 10), 128, 448, 1024, 1024, 623_258_305, 1353),
}


@pytest.mark.parametrize("name", PUBLISHED_RESNETS)
def test_resnets_have_the_published_number_of_parameters(name):
    depths, stem, image_size, width, embed, parameters, tensors = PUBLISHED_RESNETS[name]
    text = CLIPTextConfig(hidden_size=width, intermediate_size=4 * width, num_attention_heads=width // 64)
    vision = CLIPVisionConfig(
        stage_depths=depths, hidden_size=32 * stem, num_attention_heads=stem // 2, image_size=image_size
    )
    specs = weight_specs(CLIPConfig(text_config=text, vision_config=vision, projection_dim=embed))
    assert sum(prod(spec.shape) for spec in specs if spec.is_parameter) == parameters
    assert len(specs) == tensors + 12 * 4  # OpenAI's files fuse queries, keys and values of a text block


def test_names_of_a_resnet_are_those_of_the_field():
    specs = weight_specs(RESNET.vision_config, projection=True)
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names)
    assert names[:6] == [
        "vision_model.conv1.weight",
        *(f"vision_model.bn1.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")),
        "vision_model.bn1.num_batches_tracked",
    ]
    assert names[-2:] == ["visual_projection.weight", "visual_projection.bias"]
    shortcuts = [name for name in names if name.endswith("downsample.0.weight")]
    assert shortcuts == [f"vision_model.layer{stage}.0.downsample.0.weight" for stage in (1, 2, 3, 4)]
    shapes = {spec.name: spec.shape for spec in specs}
    assert shapes["vision_model.layer2.0.conv2.weight"] == (20, 20, 3, 3)
    assert shapes["vision_model.attnpool.positional_embedding"] == (10, 320)


@pytest.mark.parametrize(
    ("kind", "narrow"), [("linear", "bfloat16"), ("norm_variance", "float32"), ("counter", "int64")]
)
def test_statistics_are_float32_in_half_precision_and_counters_integers(kind, narrow):
    spec = next(spec for spec in weight_specs(RESNET) if spec.kind == kind)
    assert spec.dtype_in("bfloat16") == narrow
    assert spec.dtype_in("float64") == ("int64" if kind == "counter" else "float64")


def test_a_counter_is_an_integer():
    layout = {spec.name: (np.dtype(spec.dtype_in("float32")), spec.shape) for spec in weight_specs(RESNET)}
    match_weights(weight_specs(RESNET), layout, "checkpoint")
    name = "vision_model.bn1.num_batches_tracked"
    with pytest.raises(WeightMismatchError, match=rf"\+ {name} \[\]: float32; counters are int64, int32"):
        match_weights(weight_specs(RESNET), {**layout, name: (FLOAT32, ())}, "checkpoint")


@pytest.mark.parametrize("config", [DISTINCT, RESNET])
def test_names_are_unique_and_axes_fit_shapes(config):
    specs = weight_specs(config)
    assert len({spec.name for spec in specs}) == len(specs)
    for spec in specs:
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


@pytest.mark.parametrize("tower", [DISTINCT.text_config, DISTINCT.vision_config, RESNET.vision_config])
def test_a_tower_is_found_without_its_prefix(tower):
    specs = weight_specs(tower)
    bare = {spec.name.partition(".")[2]: (np.dtype(spec.dtype_in("float32")), spec.shape) for spec in specs}
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
