import json
import shutil

import numpy as np
import pytest

from clip_core.checkpoint.directory import save_checkpoint
from clip_core.checkpoint.safetensors_file import SafetensorsFile, write_safetensors
from clip_core.checkpoint.tensors import constant
from clip_core.config import CLIPConfig
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, ConfigError, WeightMismatchError
from weights_convert import convert, inspect, open_source
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.tests import checkpoints


def rewrite(path, change):
    """A safetensors file with its tensors renamed or changed."""
    tensors = change(dict(SafetensorsFile(path)))
    tensors = {name: np.array(value) for name, value in tensors.items()}
    layout = {name: (value.dtype, value.shape) for name, value in tensors.items()}
    write_safetensors(path, layout, tensors.items(), {"format": "pt"})


@pytest.mark.parametrize("name", checkpoints.FORMATS)
def test_the_format_is_detected_and_named(in_format, name):
    found = inspect(in_format[name])
    assert found.format == name
    assert found.config["vision_config"]["num_attention_heads"] == 2


def test_several_checkpoints_in_one_directory_are_listed(in_format, tmp_path):
    shutil.copytree(in_format["hf"], tmp_path / "both")
    shutil.copy(in_format["hf-tf"] / "tf_model.h5", tmp_path / "both")
    with pytest.raises(CheckpointFormatError, match=r"(?s)several.*model\.safetensors.*tf_model\.h5"):
        open_source(tmp_path / "both")
    assert open_source(tmp_path / "both/tf_model.h5").format.name == "hf-tf"


def test_nothing_there(tmp_path):
    with pytest.raises(CheckpointNotFoundError, match="found nothing"):
        open_source(tmp_path)
    with pytest.raises(CheckpointNotFoundError, match="no such file"):
        open_source(tmp_path / "model.pt")


@pytest.fixture
def bare(in_format, tmp_path):
    """OpenAI's names in a torch archive, without any configuration."""
    write_torchscript(tmp_path / "bare.pt", open_container(in_format["openai"]).tensors, {})
    return tmp_path / "bare.pt"


def test_without_configuration_the_error_says_what_to_do(bare):
    with pytest.raises(ConfigError) as error:
        open_source(bare)
    for part in ('"hidden_size": 128', "num_attention_heads and hidden_act", "--config", "ViT-B/32", "quickgelu"):
        assert part in str(error.value)


def test_a_configuration_can_be_given(bare, in_format):
    files = ("hf/config.json", "open_clip/open_clip_config.json", "keras-hub/config.json", "nnx")
    for config in (checkpoints.CONFIG, *(in_format["hf"].parent / file for file in files)):
        assert open_source(bare, config).model.config == checkpoints.CONFIG


def test_a_name_gives_heads_and_activation(tmp_path):
    shape = {"hidden_size": 768, "intermediate_size": 9, "num_hidden_layers": 1, "image_size": 64, "patch_size": 32,
             "num_attention_heads": 12, "projection_dim": 5}  # fmt: skip
    text = {"vocab_size": 7, "hidden_size": 128, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 4, "projection_dim": 5}  # fmt: skip
    config = CLIPConfig.from_dict({"projection_dim": 5, "text_config": text, "vision_config": shape})
    weights = checkpoints.weights(config=config)
    save_checkpoint(tmp_path, config, weights, architecture="CLIPModel")
    (tmp_path / "config.json").unlink()
    for name, activation in (("ViT-B/32", "quick_gelu"), ("ViT-B-32", "gelu"), ("ViT-B-32-quickgelu", "quick_gelu")):
        found = open_source(tmp_path, name).model.config
        assert (found.vision_config.num_attention_heads, found.text_config.num_attention_heads) == (12, 2)
        assert {found.vision_config.hidden_act, found.text_config.hidden_act} == {activation}
    for name in ("ViT-B/16", "ViT-H-14"):
        with pytest.raises(ConfigError, match="another model"):
            open_source(tmp_path, name)
    with pytest.raises(ConfigError, match="no known model"):
        open_source(tmp_path, "ViT-B32")


def test_weights_that_are_not_those_of_the_configuration(in_format, tmp_path):
    shutil.copytree(in_format["hf"], tmp_path / "hf")
    rewrite(tmp_path / "hf/model.safetensors", lambda found: {**found, "extra": np.zeros(3, "f4")})
    with pytest.raises(WeightMismatchError, match=r"\+ extra \[3\]"):
        open_source(tmp_path / "hf")


def test_old_position_ids_are_left_out(in_format, tmp_path):
    shutil.copytree(in_format["hf"], tmp_path / "hf")
    ids = {
        "text_model.embeddings.position_ids": np.arange(11)[None],
        "vision_model.embeddings.position_ids": np.arange(17),
    }
    rewrite(tmp_path / "hf/model.safetensors", lambda found: {**found, **ids})
    assert inspect(tmp_path / "hf").sha256 == inspect(in_format["hf"]).sha256


@pytest.mark.parametrize("tower", ["text", "vision"])
def test_towers_of_transformers_5_have_no_prefix(in_format, tmp_path, tower):
    shutil.copytree(in_format["hf"], tmp_path / "hf")
    prefix = f"{tower}_model."
    rewrite(
        tmp_path / "hf/model.safetensors",
        lambda found: {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)},
    )
    found = open_source(tmp_path / "hf").model
    assert found.config.model_type == f"clip_{tower}_model"
    assert not found.projection
    expected = checkpoints.weights()
    assert all(np.array_equal(value.read(), expected[name]) for name, value in found.weights.items())


def test_open_clip_training_checkpoints_and_text_towers(in_format, tmp_path):
    path = in_format["open_clip"]
    shutil.copytree(path, tmp_path / "custom")
    text = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")

    def rename(found):
        return {f"module.{'text.' if name.startswith(text) else ''}{name}": value for name, value in found.items()}

    rewrite(tmp_path / "custom/open_clip_model.safetensors", rename)
    found = inspect(tmp_path / "custom")
    assert (found.format, found.sha256) == ("open_clip", inspect(path).sha256)


def test_a_text_tower_of_its_own_is_not_openai_s_in_torch_files_either(in_format, tmp_path):
    tensors = open_container(in_format["openai"]).tensors
    custom = {name if name.startswith(("visual", "logit")) else f"text.{name}": tensors[name] for name in tensors}
    write_torchscript(tmp_path / "custom.pt", custom, {})
    found = inspect(tmp_path / "custom.pt", config=checkpoints.CONFIG)
    assert (found.format, found.sha256) == ("open_clip", inspect(in_format["openai"]).sha256)


def test_a_text_tower_given_twice_is_refused(in_format, tmp_path):
    tensors = {f"module.{name}": value for name, value in open_container(in_format["openai"]).tensors.items()}
    tensors["module.text.positional_embedding"] = tensors["module.positional_embedding"]
    write_torchscript(tmp_path / "twice.pt", tensors, {})
    with pytest.raises(CheckpointFormatError, match="'positional_embedding' twice"):
        inspect(tmp_path / "twice.pt", config=checkpoints.CONFIG)


def test_a_resnet_is_named(tmp_path):
    names = ("visual.layer1.0.conv1.weight", "ln_final.weight")
    write_torchscript(tmp_path / "RN50.pt", {name: constant(np.zeros(2, "<f4")) for name in names}, {})
    with pytest.raises(CheckpointFormatError, match="ResNet vision tower, which is not supported"):
        open_source(tmp_path / "RN50.pt")


@pytest.mark.parametrize(
    ("part", "setting"),
    [
        ("vision_cfg", {"timm_model_name": "vit"}),
        ("vision_cfg", {"layers": [3, 4, 6, 3]}),
        ("vision_cfg", {"ls_init_value": 1e-4}),
        ("vision_cfg", {"pool_type": "avg"}),
        ("text_cfg", {"hf_model_name": "roberta"}),
        ("text_cfg", {"no_causal_mask": True}),
        ("text_cfg", {"pool_type": "eos", "eos_id": 2}),
    ],
)
def test_open_clip_architectures_that_are_not_clip(in_format, tmp_path, part, setting):
    shutil.copytree(in_format["open_clip"], tmp_path / "other")
    config = json.loads((tmp_path / "other/open_clip_config.json").read_text())
    config["model_cfg"][part].update(setting)
    (tmp_path / "other/open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointFormatError, match=f"{next(iter(setting))}|ResNet|first id 2"):
        open_source(tmp_path / "other")


def test_preprocessor_and_tokenizer_travel_through_every_format(tmp_path):
    path = checkpoints.save(tmp_path / "start")
    files = {
        "preprocessor_config.json": {
            "size": 28,
            "crop_size": 28,
            "image_mean": [0.5, 0.4, 0.3],
            "image_std": [0.2, 0.3, 0.1],
        },
        "vocab.json": {"a</w>": 0},
    }
    for name, content in files.items():
        (path / name).write_text(json.dumps(content))
    (path / "merges.txt").write_text("#version: 0.2\n")
    for to in (*checkpoints.FORMATS, "hf"):
        following = checkpoints.destination(tmp_path, to, f"after_{path.stem}_")
        convert(path, following, to=to)
        path = following
    found = json.loads((path / "preprocessor_config.json").read_text())
    assert (found["image_mean"], found["image_std"]) == ([0.5, 0.4, 0.3], [0.2, 0.3, 0.1])
    assert found["size"] == {"shortest_edge": 28}
    assert json.loads((path / "vocab.json").read_text()) == files["vocab.json"]
    assert (path / "merges.txt").read_text() == "#version: 0.2\n"
