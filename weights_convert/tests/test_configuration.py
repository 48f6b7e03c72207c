import dataclasses
import hashlib
import json
import shlex

import pytest
from click.testing import CliRunner

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.errors import ConfigError, InputError
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT
from weights_convert import Unpublished, configuration, open_source
from weights_convert.__main__ import main
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.tests import checkpoints, published


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


def test_the_command_in_the_error_converts(bare, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (said,) = [line for line in without_configuration(bare).splitlines() if line.startswith("  triclip convert ")]
    assert said == f"  triclip convert {bare} NEW_DIRECTORY --to hf --activation quick_gelu --head-width 64"
    result = CliRunner().invoke(main, shlex.split(said)[1:])
    assert result.exit_code == 0, result.output
    assert "configuration: what was said: quick_gelu, heads 64 wide, 64 in texts" in result.output
    assert open_source("NEW_DIRECTORY").model.config == checkpoints.CONFIG
    both = CliRunner().invoke(main, [*shlex.split(said)[1:], "--config", "openai"])
    assert (both.exit_code, "--config says all; leave out --activation" in both.output) == (2, True)


def test_sizes_that_nobody_published_need_no_file(tmp_path):
    save_checkpoint(tmp_path, DISTINCT, dict(draw_weights(DISTINCT, seed=0)), architecture="CLIPModel")
    (tmp_path / "config.json").unlink()
    assert "--activation quick_gelu --head-width WIDTH --text-head-width WIDTH\n" in without_configuration(tmp_path)
    found = open_source(tmp_path, Unpublished(activation="gelu", head_width=4, text_head_width=8)).model.config
    assert (found.vision_config.num_attention_heads, found.text_config.num_attention_heads) == (5, 3)
    assert {found.vision_config.hidden_act, found.text_config.hidden_act} == {"gelu"}
    with pytest.raises(
        ConfigError, match="--text-head-width: expected a divisor of 24, the width of the text tower, got"
    ):
        open_source(tmp_path, Unpublished(head_width=4))
    with pytest.raises(InputError, match="activation: expected one of quick_gelu, gelu, "):
        Unpublished(activation="relu")


def test_a_file_beside_a_published_one_and_a_name_that_contradict_it_are_refused(bare, tmp_path, monkeypatch):
    digest = hashlib.sha256(bare.read_bytes()).hexdigest()
    row = {"name": "Tiny/it", "source": {"url": "https://openaipublic.example/Tiny.pt", "sha256": digest}}
    monkeypatch.setattr(configuration, "_SMALLEST_PUBLISHED_BYTES", 1)
    published.use_table(monkeypatch, tmp_path / "table", [row])
    try:
        found = open_source(bare)
        assert (found.model.config, found.config_origin) == (checkpoints.CONFIG, "the digest of OpenAI's Tiny/it")
        assert open_source(bare, "Tiny-quickgelu").model.config == checkpoints.CONFIG
        with pytest.raises(
            ConfigError, match="(?s)^the name Tiny: .* known of Tiny/it.*expected 'quick_gelu', got 'gelu'"
        ):
            open_source(bare, "Tiny")
        vision = {"layers": 3, "width": 128, "patch_size": 7, "image_size": 28}
        text = {"width": 64, "heads": 1, "layers": 2, "context_length": 11, "vocab_size": 61}
        described = {"embed_dim": 40, "vision_cfg": vision, "text_cfg": text}
        beside = bare.with_name("open_clip_config.json")
        beside.write_text(json.dumps(described))
        with pytest.raises(
            ConfigError, match="(?s)known of Tiny.*hidden_act: expected 'quick_gelu', got 'gelu'"
        ) as error:
            open_source(bare)
        assert f"To use it as that file says, give it: --config {beside}" in str(error.value)
        assert open_source(bare, beside).model.config.text_config.hidden_act == "gelu"
    finally:
        monkeypatch.undo()
        published.forget()


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
