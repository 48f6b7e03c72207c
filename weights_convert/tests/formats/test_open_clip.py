import json
import shutil

import pytest

from clip_core.errors import CheckpointFormatError
from weights_convert import convert, inspect
from weights_convert.containers.opened import open_container
from weights_convert.containers.torchscript import write_torchscript
from weights_convert.tests import checkpoints


def test_open_clip_training_checkpoints_and_text_towers(in_format, tmp_path):
    path = in_format["open_clip"]
    shutil.copytree(path, tmp_path / "custom")
    text = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")

    def rename(found):
        return {f"module.{'text.' if name.startswith(text) else ''}{name}": value for name, value in found.items()}

    checkpoints.rewrite(tmp_path / "custom/open_clip_model.safetensors", rename)
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


@pytest.mark.parametrize("prefix", ["", "module."])
def test_what_lies_beside_a_training_checkpoint_of_open_clip_is_read(in_format, tmp_path, prefix):
    tensors = open_container(in_format["openai"]).tensors
    write_torchscript(tmp_path / "epoch_3.pt", {f"{prefix}{name}": tensors[name] for name in tensors}, {})
    described = json.loads((in_format["open_clip"] / "open_clip_config.json").read_text())
    cfg = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear", "resize_mode": "squash"}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({**described, "preprocess_cfg": cfg}))
    done = convert(tmp_path / "epoch_3.pt", tmp_path / "out", to="hf")
    assert done.source_format == "open_clip"
    assert not any(note.startswith("preprocessor") for note in done.notes)
    found = json.loads((tmp_path / "out/preprocessor_config.json").read_text())
    assert (found["image_mean"], found["image_std"], found["resample"]) == ([0.5] * 3, [0.25] * 3, 2)
    assert found["size"] == {"height": 28, "width": 28}
    assert found["profile"] == "openai"


def test_a_vision_tower_of_another_architecture_is_not_overlooked(in_format, tmp_path):
    tensors = open_container(in_format["openai"]).tensors
    other = {name: tensor for name, tensor in tensors.items() if not name.startswith("visual.")}
    other["visual.trunk.stem.0.weight"] = tensors["visual.conv1.weight"]
    write_torchscript(tmp_path / "convnext.pt", other, {})
    with pytest.raises(CheckpointFormatError, match="expected the weights of a CLIP model"):
        inspect(tmp_path / "convnext.pt", config=checkpoints.CONFIG)


def test_the_preprocessor_of_open_clip_has_the_size_of_the_model(in_format, tmp_path):
    shutil.copytree(in_format["open_clip"], tmp_path / "in")
    path = tmp_path / "in/open_clip_config.json"
    described = json.loads(path.read_text())
    path.write_text(json.dumps({**described, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}))
    convert(tmp_path / "in", tmp_path / "out", to="hf")
    assert json.loads((tmp_path / "out/preprocessor_config.json").read_text())["crop_size"] == {
        "height": 28,
        "width": 28,
    }


@pytest.mark.parametrize(
    "wrong", [{"interpolation": "lanczos"}, {"resize_mode": "fit"}, {"size": [28, 30]}, {"mode": "L"}]
)
def test_a_preprocessing_that_open_clip_refuses(in_format, tmp_path, wrong):
    shutil.copytree(in_format["open_clip"], tmp_path / "in")
    path = tmp_path / "in/open_clip_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "preprocess_cfg": wrong}))
    with pytest.raises(CheckpointFormatError, match=f"{next(iter(wrong))}: expected"):
        convert(tmp_path / "in", tmp_path / "out", to="hf")
