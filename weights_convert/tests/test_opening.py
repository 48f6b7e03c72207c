import dataclasses
import shutil

import numpy as np
import pytest

from clip_core.checkpoint.tensors import constant
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, WeightMismatchError
from clip_core.schemes import TORCH
from weights_convert import inspect, open_source, opening
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.formats.hf_torch import HF
from weights_convert.names import Names
from weights_convert.tests import checkpoints


@pytest.mark.parametrize("name", checkpoints.FORMATS)
def test_the_format_is_detected_and_named(in_format, name):
    found = inspect(in_format[name])
    assert found.format == name
    assert found.config["vision_config"]["num_attention_heads"] == 2


def test_of_formats_that_share_names_the_one_is_taken_that_has_most(in_format, tmp_path, monkeypatch):
    renamed = dataclasses.replace(HF, name="renamed", names=Names(scheme=TORCH, modules={"self_attn": "attention"}))
    monkeypatch.setitem(opening.FORMATS, "renamed", renamed)
    assert open_source(in_format["hf"]).format is HF
    shutil.copytree(in_format["hf"], tmp_path / "renamed")
    checkpoints.rewrite(
        tmp_path / "renamed/model.safetensors",
        lambda found: {name.replace("self_attn", "attention"): value for name, value in found.items()},
    )
    assert open_source(tmp_path / "renamed").format is renamed


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


def test_weights_that_are_not_those_of_the_configuration(in_format, tmp_path):
    shutil.copytree(in_format["hf"], tmp_path / "hf")
    checkpoints.rewrite(tmp_path / "hf/model.safetensors", lambda found: {**found, "extra": np.zeros(3, "f4")})
    with pytest.raises(WeightMismatchError, match=r"\+ extra \[3\]"):
        open_source(tmp_path / "hf")


def test_a_resnet_is_named(tmp_path):
    names = ("visual.layer1.0.conv1.weight", "ln_final.weight")
    write_torchscript(tmp_path / "RN50.pt", {name: constant(np.zeros(2, "<f4")) for name in names}, {})
    with pytest.raises(CheckpointFormatError, match="ResNet vision tower, which is not supported"):
        open_source(tmp_path / "RN50.pt")
