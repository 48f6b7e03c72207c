import json
from dataclasses import FrozenInstanceError, replace

import pytest

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, ConfigError


def test_defaults_are_those_of_the_base_model():
    text, vision, full = CLIPTextConfig(), CLIPVisionConfig(), CLIPConfig()
    assert (text.vocab_size, text.hidden_size, text.num_attention_heads, text.eos_token_id) == (49408, 512, 8, 49407)
    assert (vision.hidden_size, vision.intermediate_size, vision.image_size, vision.patch_size) == (768, 3072, 224, 32)
    assert (full.projection_dim, full.logit_scale_init_value, full.initializer_factor) == (512, 2.6592, 1.0)
    assert full.text_config == text
    assert full.vision_config == vision


def test_configurations_are_frozen_and_replace_checks_again():
    config = CLIPTextConfig(hidden_size=48, num_attention_heads=6)
    with pytest.raises(FrozenInstanceError):
        config.hidden_size = 50
    with pytest.raises(ConfigError, match="num_attention_heads: expected a divisor of hidden_size 50, got 6"):
        replace(config, hidden_size=50)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (CLIPTextConfig, {"vocab_size": 0}),
        (CLIPTextConfig, {"vocab_size": "49408"}),
        (CLIPTextConfig, {"hidden_act": "relu"}),
        (CLIPTextConfig, {"layer_norm_eps": 0.0}),
        (CLIPTextConfig, {"layer_norm_eps": "1e-5"}),
        (CLIPTextConfig, {"attention_dropout": 1.0}),
        (CLIPTextConfig, {"output_attentions": "yes"}),
        (CLIPTextConfig, {"num_hidden_layers": 300_000}),
        (CLIPConfig, {"return_dict": 1}),
        (CLIPTextConfig, {"eos_token_id": -1}),
        (CLIPTextConfig, {"num_hidden_layers": True}),
        (CLIPVisionConfig, {"image_size": 16, "patch_size": 32}),
        (CLIPVisionConfig, {"num_attention_heads": 7}),
        (CLIPConfig, {"projection_dim": 0}),
        (CLIPConfig, {"text_config": 3}),
        (CLIPConfig, {"vision_config": {"patch_size": -1}}),
    ],
)
def test_a_value_that_describes_no_model_is_an_error(kind, values):
    with pytest.raises(ConfigError, match="expected .*, got .*Correct it"):
        kind(**values)


def test_an_unknown_argument_is_an_error_but_an_unknown_key_of_a_file_is_kept():
    with pytest.raises(TypeError, match="hidden_sizes"):
        CLIPTextConfig(hidden_sizes=3)
    config = CLIPTextConfig.from_dict({"hidden_size": 64, "top_k": 50, "model_type": "clip_text_model"})
    assert config.other_keys == {"top_k": 50}
    assert config.to_dict()["top_k"] == 50


def test_every_value_survives_a_round_trip(tmp_path):
    config = CLIPConfig(
        text_config={"hidden_size": 96, "num_attention_heads": 3, "eos_token_id": 2, "made_by": "someone"},
        vision_config=CLIPVisionConfig(patch_size=14, hidden_act="gelu", output_attentions=True),
        projection_dim=33,
    )
    config.save_pretrained(tmp_path)
    loaded = CLIPConfig.from_pretrained(tmp_path)
    assert loaded == config
    assert loaded.to_dict() == config.to_dict()
    # the projections of a full model have its own projection_dim, whatever its towers' configurations say
    assert CLIPTextConfig.from_pretrained(tmp_path) == replace(config.text_config, projection_dim=33)
    assert CLIPVisionConfig.from_pretrained(tmp_path).output_attentions


def test_legacy_config_dicts_win():
    config = CLIPConfig.from_dict(
        {"text_config": {"hidden_size": 64, "vocab_size": 9}, "text_config_dict": {"hidden_size": 128}}
    )
    assert config.text_config.hidden_size == 128
    assert config.text_config.vocab_size == CLIPTextConfig().vocab_size  # its defaults win, too, as upstream


def test_diff_holds_only_what_is_not_default():
    assert json.loads(CLIPVisionConfig(patch_size=16).to_json_string()) == {
        "model_type": "clip_vision_model",
        "patch_size": 16,
    }


def test_the_wrong_kind_of_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointFormatError, match="expected a configuration of model_type 'clip', got 'bert'"):
        CLIPConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("content", ["{", "[1]", "\ufeff", '{"a": NaN'])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointFormatError, match=r"config\.json"):
        CLIPConfig.from_pretrained(tmp_path)


def test_a_missing_file_says_what_is_there(tmp_path):
    (tmp_path / "weights.bin").touch()
    with pytest.raises(CheckpointNotFoundError, match=r"weights\.bin"):
        CLIPConfig.from_pretrained(tmp_path)


def test_from_text_vision_configs():
    text, vision = CLIPTextConfig(vocab_size=77), CLIPVisionConfig(patch_size=16)
    joined = CLIPConfig.from_text_vision_configs(text, vision, projection_dim=20)
    assert (joined.text_config, joined.vision_config, joined.projection_dim) == (text, vision, 20)


RN50 = {"stage_depths": (3, 4, 6, 3), "hidden_size": 2048, "num_attention_heads": 32}


def test_a_resnet_survives_a_round_trip(tmp_path):
    config = CLIPConfig(vision_config=CLIPVisionConfig(**RN50))
    assert config.vision_config.is_resnet
    assert config.vision_config.patches_per_side == 7
    config.save_pretrained(tmp_path)
    loaded = CLIPConfig.from_pretrained(tmp_path)
    assert loaded == config
    assert loaded.vision_config.stage_depths == (3, 4, 6, 3)
    assert hash(loaded.vision_config.stage_depths) is not None


def test_config_json_of_a_transformer_is_as_before_and_that_of_a_resnet_has_no_transformer_in_it():
    assert "stage_depths" not in CLIPVisionConfig().to_dict()
    described = json.loads(CLIPVisionConfig(**RN50).to_json_string(use_diff=False))
    assert described["stage_depths"] == [3, 4, 6, 3]
    assert {name for name, value in described.items() if value is None} == {
        *("intermediate_size", "num_hidden_layers", "hidden_act", "layer_norm_eps"),
        *("attention_dropout", "initializer_range"),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage_depths": (3, 4, 6)}, "4 integers >= 1 whose sum is at most 1000"),
        ({"stage_depths": (3, 4, 0, 3)}, "4 integers >= 1"),
        ({"stage_depths": (3, 4, 6.0, 3)}, "4 integers >= 1"),
        ({"stage_depths": 50}, "4 integers >= 1"),
        ({"stage_depths": (3, 4, 6, 3000)}, "at most 1000"),
        ({"patch_size": 16}, "32, the total stride"),
        ({"image_size": 225}, "a multiple of 32"),
        ({"hidden_size": 2080}, "a multiple of 64"),
        ({"num_attention_heads": 33}, "a divisor of hidden_size 2048"),
        ({"hidden_act": "gelu"}, "nothing for a ResNet tower"),
        ({"num_hidden_layers": 16}, "nothing for a ResNet tower"),
        ({"intermediate_size": 8192}, "nothing for a ResNet tower"),
        ({"layer_norm_eps": 1e-6}, "nothing for a ResNet tower"),
        ({"attention_dropout": 0.1}, "nothing for a ResNet tower"),
    ],
)
def test_what_is_no_resnet_is_an_error(change, message):
    name = next(iter(change))
    with pytest.raises(ConfigError, match=rf"CLIPVisionConfig.{name}: expected .*{message}"):
        CLIPVisionConfig(**{**RN50, **change})
