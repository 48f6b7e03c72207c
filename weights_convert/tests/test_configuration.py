import dataclasses
import json

import pytest

from clip_core.checkpoint.directory import save_checkpoint
from clip_core.errors import ConfigError
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT
from weights_convert import open_source
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.tests import checkpoints


@pytest.fixture
def bare(in_format, tmp_path):
    """OpenAI's names in a torch archive, without any configuration."""
    write_torchscript(tmp_path / "bare.pt", open_container(in_format["openai"]).tensors, {})
    return tmp_path / "bare.pt"


def without_configuration(path):
    with pytest.raises(ConfigError) as error:
        open_source(path)
    return str(error.value)


def test_without_configuration_the_error_says_what_to_do(bare):
    message = without_configuration(bare)
    for part in ('"hidden_size": 128', "--config", "ViT-B/32", "openai for any", "quickgelu", "'?'"):
        assert part in message


def test_the_configuration_in_the_error_must_be_filled_in(bare, tmp_path):
    described = json.loads(without_configuration(bare).splitlines()[-1])
    told = {
        "text_config": {"num_attention_heads": 1, "hidden_act": "quick_gelu", "eos_token_id": 60},
        "vision_config": {"num_attention_heads": 2, "hidden_act": "quick_gelu"},
    }
    forgotten = {tower: {key: described[tower][key] for key in described[tower].keys() - told[tower]} for tower in told}
    names = ", ".join(f"{tower}.{key}" for tower in told for key in told[tower])
    path = tmp_path / "config.json"
    for incomplete in (described, {**described, **forgotten}):
        path.write_text(json.dumps(incomplete))
        with pytest.raises(ConfigError, match=f"does not say {names}, which"):
            open_source(bare, path)
    path.write_text(json.dumps({**described, **{tower: {**described[tower], **told[tower]} for tower in told}}))
    found = open_source(bare, path).model.config
    assert dataclasses.replace(found.text_config, bos_token_id=59) == checkpoints.CONFIG.text_config
    assert found.vision_config == checkpoints.CONFIG.vision_config


def test_what_a_library_wrote_leaves_out_its_defaults(bare, tmp_path):
    path = tmp_path / "config.json"
    described = checkpoints.CONFIG.to_dict()
    del described["text_config"]["hidden_act"]
    path.write_text(json.dumps({**described, "transformers_version": "4.57.6"}))
    assert open_source(bare, path).model.config == checkpoints.CONFIG


def test_a_model_like_openai_s_is_inferred_as_its_loader_does(bare, tmp_path):
    assert open_source(bare, "openai").model.config == checkpoints.CONFIG
    save_checkpoint(tmp_path / "other", DISTINCT, dict(draw_weights(DISTINCT, seed=0)), architecture="CLIPModel")
    (tmp_path / "other/config.json").unlink()
    with pytest.raises(ConfigError, match="heads 64 wide and an MLP four times as wide"):
        open_source(tmp_path / "other", "openai")


def test_a_configuration_can_be_given(bare, in_format):
    files = ("hf/config.json", "open_clip/open_clip_config.json", "keras-hub/config.json", "nnx")
    for config in (checkpoints.CONFIG, *(in_format["hf"].parent / file for file in files)):
        assert open_source(bare, config).model.config == checkpoints.CONFIG
