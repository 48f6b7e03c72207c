import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.errors import CheckpointFormatError, CheckpointNotFoundError, WeightMismatchError
from clip_core.schemes import TORCH
from weights_convert import convert, diff, inspect, open_source, opening
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


def test_a_foreign_journal_is_an_error_and_nothing_is_touched(source, tmp_path):
    shutil.copytree(source, tmp_path / "in")
    for name in ("thesis.txt", "notes.txt"):
        (tmp_path / "in" / name).write_text("years of work")
    plan = {"renames": {"thesis.txt": "config.bak"}, "removals": ["notes.txt"]}
    (tmp_path / "in/.save_journal.json").write_text(json.dumps(plan))
    before = {file: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    for use in (inspect, lambda path: convert(path, tmp_path / "out", to="hf"), lambda path: diff(path, path)):
        with pytest.raises(CheckpointFormatError, match="expected the journal of a save"):
            use(tmp_path / "in")
    assert {file: file.read_bytes() for file in (tmp_path / "in").iterdir()} == before


@pytest.mark.parametrize("renames", range(4))
def test_a_save_that_was_cut_short_is_converted_as_it_lies(tmp_path, monkeypatch, renames):
    checkpoints.save(tmp_path / "in")
    replace, left = os.replace, iter(range(1 + renames))

    def replace_some(old, new):
        if next(left, None) is None:
            raise KeyboardInterrupt
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_some)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(
                tmp_path / "in",
                checkpoints.CONFIG,
                checkpoints.weights("float16"),
                architecture="CLIPModel",
                max_shard_size="500KB",
            )
    before = {file: file.read_bytes() for file in (tmp_path / "in").iterdir()}
    expected = inspect(checkpoints.save(tmp_path / "whole", "float16")).sha256
    assert inspect(tmp_path / "in").sha256 == convert(tmp_path / "in", tmp_path / "out", to="nnx").sha256 == expected
    assert {file: file.read_bytes() for file in (tmp_path / "in").iterdir()} == before


def test_a_file_is_given_without_its_directory(source, monkeypatch):
    monkeypatch.chdir(source)
    assert open_source("model.safetensors").path == Path("model.safetensors")
