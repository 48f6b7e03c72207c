"""CLIPs with a ResNet as vision tower, in every format that has a place for one; the others say so."""

import json

import numpy as np
import pytest

from clip_core.checkpoint.directory import load_checkpoint
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig
from clip_core.errors import InputError
from weights_convert import FORMATS, convert, inspect
from weights_convert.containers.opened import open_container
from weights_convert.opening import find_weights, open_source
from weights_convert.outputs import run_model
from weights_convert.tests import checkpoints

HOLDING = [name for name, format_ in FORMATS.items() if format_.resnet_names is not None]
OTHERS = [name for name in FORMATS if name not in HOLDING]


@pytest.fixture(scope="module", params=["float32", "mixed"])
def resnet(request, tmp_path_factory):
    """In full precision, and as OpenAI's GPU files are."""
    directory = tmp_path_factory.mktemp(request.param) / "hf"
    weights = checkpoints.weights(request.param, checkpoints.RESNET)
    save_checkpoint(directory, checkpoints.RESNET, weights, architecture="CLIPModel")
    return directory, weights


def test_formats_that_hold_them():
    assert HOLDING == ["hf", "openai", "open_clip", "keras", "nnx"]


@pytest.mark.parametrize("name", HOLDING)
def test_there_and_back_every_byte_is_the_same(resnet, tmp_path, name):
    source, weights = resnet
    there = checkpoints.destination(tmp_path, name, "there-")
    done = convert(source, there, to=name)
    assert inspect(there, config=source / "config.json").format == name
    back = convert(there, tmp_path / "back", to="hf", config=source / "config.json")
    assert back.sha256 == done.source_sha256
    loaded = load_checkpoint(tmp_path / "back", CLIPConfig)
    assert loaded.config == checkpoints.RESNET
    for key, value in weights.items():
        assert loaded.weights[key].dtype == value.dtype
        assert loaded.weights[key].tobytes() == value.tobytes(), key


@pytest.mark.parametrize("name", OTHERS)
def test_a_format_without_a_place_for_them_says_so(resnet, tmp_path, name):
    with pytest.raises(InputError, match="has no ResNet vision towers, and the model has one. Convert it to hf"):
        convert(resnet[0], checkpoints.destination(tmp_path, name), to=name)
    assert not list(tmp_path.iterdir())


def test_names_are_openai_s(resnet, tmp_path):
    convert(resnet[0], tmp_path / "RN.pt", to="openai")
    stored = open_container(tmp_path / "RN.pt").tensors
    assert stored["visual.attnpool.c_proj.weight"].shape == (40, 320)
    assert stored["visual.attnpool.positional_embedding"].shape == (10, 320)
    assert stored["visual.layer4.2.bn3.num_batches_tracked"].dtype == np.int64
    assert "visual.layer2.0.downsample.1.running_var" in stored
    assert "visual.proj" not in stored
    assert open_source(tmp_path / "RN.pt").config_origin == "config.json inside the archive"


def test_open_clip_s_configuration_both_ways(resnet, tmp_path):
    """Its keys of such a tower, as its RN50.json has them."""
    convert(resnet[0], tmp_path / "out", to="open_clip")
    described = json.loads((tmp_path / "out/open_clip_config.json").read_text())["model_cfg"]
    assert described["vision_cfg"] == {
        "image_size": 96,
        "layers": [1, 2, 1, 3],
        "width": 10,
        "head_width": 64,
        "patch_size": None,
    }
    assert described["quick_gelu"] is True
    assert open_source(tmp_path / "out").model.config == checkpoints.RESNET


def test_counters_of_32_bits_are_read(resnet, tmp_path):
    """As JAX has them."""
    save_checkpoint(tmp_path / "in", checkpoints.RESNET, resnet[1], architecture="CLIPModel")
    small = {name: np.int32(7) for name in resnet[1] if name.endswith("num_batches_tracked")}
    checkpoints.rewrite(tmp_path / "in/model.safetensors", lambda found: {**found, **small})
    convert(tmp_path / "in", tmp_path / "nnx", to="nnx")
    convert(tmp_path / "nnx", tmp_path / "out", to="hf", config=tmp_path / "in/config.json")
    loaded = load_checkpoint(tmp_path / "out", CLIPConfig).weights
    assert {str(loaded[name].dtype) for name in small} == {"int64"}
    assert {int(loaded[name]) for name in small} == {7}


def test_what_it_computes_is_the_same(resnet, tmp_path):
    """In float32, in a process of its own, as ``verify="outputs"`` does."""
    convert(resnet[0], tmp_path / "RN.pt", to="openai")
    before, after = (run_model(open_source(path).model, "torch") for path in (resnet[0], tmp_path / "RN.pt"))
    assert np.isfinite(before["logits_per_image"]).all()
    assert before.keys() == after.keys()
    assert all(np.array_equal(value, after[name]) for name, value in before.items())


def test_a_cast_leaves_statistics_and_counters(resnet, tmp_path):
    convert(resnet[0], tmp_path / "out", to="hf", dtype="bfloat16")
    for name, value in load_checkpoint(tmp_path / "out", CLIPConfig).weights.items():
        expected = "float32" if ".running_" in name else "int64" if name.endswith("tracked") else "bfloat16"
        assert value.dtype.name == expected, name


def test_a_resnet_without_its_last_stage_is_not_read(resnet, tmp_path):
    save_checkpoint(tmp_path / "in", checkpoints.RESNET, resnet[1], architecture="CLIPModel")
    checkpoints.rewrite(
        find_weights(tmp_path / "in"),
        lambda found: {name: value for name, value in found.items() if ".layer4." not in name},
    )
    with pytest.raises(ValueError, match=r"- vision_model.layer4.0.conv1.weight \[80, 160, 1, 1\]: missing"):
        open_source(tmp_path / "in")


def test_a_malformed_configuration_of_open_clip_is_named(resnet, tmp_path):
    convert(resnet[0], tmp_path / "out", to="open_clip")
    path = tmp_path / "out/open_clip_config.json"
    described = json.loads(path.read_text())
    described["model_cfg"]["vision_cfg"]["layers"] = [1, 2, 1]
    path.write_text(json.dumps(described))
    with pytest.raises(ValueError, match="stage_depths: expected 4 integers"):
        open_source(tmp_path / "out")
