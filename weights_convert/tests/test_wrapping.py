"""State dicts as trainers, wrappers and larger models leave them."""

import argparse
import json
import pathlib
import shutil

import numpy as np
import pytest

from clip_core.checkpoint.tensors import constant
from clip_core.errors import CheckpointFormatError
from weights_convert import convert, inspect, open_source, verify
from weights_convert.containers.opened import Container, open_container
from weights_convert.tests import checkpoints
from weights_convert.wrapping import unwrapped

torch = pytest.importorskip("torch", reason="writes what trainers in torch write")


@pytest.fixture(scope="module")
def state(in_format):
    """The checkpoint as state dicts of transformers and of OpenAI."""
    return {
        name: {key: torch.from_numpy(np.array(tensor.read())) for key, tensor in open_container(path).tensors.items()}
        for name, path in (("hf", in_format["hf"] / "model.safetensors"), ("openai", in_format["openai"]))
    }


def under(prefix, tensors):
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def lightning(state):
    options = argparse.Namespace(data=pathlib.PosixPath("/data/train"), lr=np.float64(1e-4), name="run")
    optimizer = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": under("model.", state["hf"]),
        "optimizer_states": [optimizer],
        "hyper_parameters": {"args": options, "out": pathlib.Path("runs/1"), "best": np.float32(0.5)},
    }


ONE = {
    "DataParallel": lambda state: under("module.", state["openai"]),
    "Lightning": lightning,
    "model": lambda state: {"model": state["hf"], "epoch": 1, "optimizer": {"state": {0: {"m": torch.zeros(2)}}}},
    "model_state_dict": lambda state: {"model_state_dict": state["openai"]},
    "state_dict": lambda state: {"state_dict": under("module.", state["openai"]), "name": "run"},
    "model_ema": lambda state: {"model_ema": {"module": state["hf"]}, "decay": 0.9},
    "state_dict_ema": lambda state: {"state_dict_ema": state["openai"]},
    "compiled": lambda state: under("_orig_mod.", state["hf"]),
    "compiled in parallel": lambda state: under("module._orig_mod.", state["openai"]),
    "compiled blocks": lambda state: {
        name.replace("resblocks.1.", "resblocks.1._orig_mod."): tensor for name, tensor in state["openai"].items()
    },
    "merged PEFT": lambda state: under("base_model.model.", state["hf"]),
    "CLIPSeg": lambda state: {**under("clip.", state["hf"]), "decoder.layers.0.layer_norm1.weight": torch.ones(4)},
}


@pytest.mark.parametrize("kind", ONE)
def test_what_is_around_the_only_model_is_taken_off_and_said(source, state, tmp_path, kind):
    torch.save(ONE[kind](state), tmp_path / "wrapped.pt")
    found = inspect(tmp_path / "wrapped.pt", config=checkpoints.CONFIG)
    assert found.sha256 == inspect(source).sha256
    assert found.notes[0].startswith("names: ")
    done = convert(tmp_path / "wrapped.pt", tmp_path / "out", to="hf", config=checkpoints.CONFIG)
    assert done.sha256 == found.sha256
    assert done.notes[: len(found.notes)] == found.notes


def changed(tensors):
    return {name: tensor + 1 for name, tensor in tensors.items()}


TWO = {
    "timm": (lambda s: {"state_dict": s["openai"], "state_dict_ema": changed(s["openai"])}, "state_dict_ema"),
    "DeiT": (lambda s: {"model": s["hf"], "model_ema": changed(s["hf"])}, "model_ema"),
    "Lightning": (lambda s: {"state_dict": {**under("net.", s["hf"]), **under("ema.net.", changed(s["hf"]))}}, None),
    "beside itself": (lambda s: {**s["hf"], **under("ema.", changed(s["hf"]))}, "ema"),
    "compiled beside itself": (lambda s: {**s["hf"], **under("_orig_mod.", changed(s["hf"]))}, "_orig_mod"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TWO)
def test_of_several_models_none_is_guessed(state, tmp_path, kind):
    make, key = TWO[kind]
    path = tmp_path / "two.pt"
    torch.save(make(state), path)
    with pytest.raises(CheckpointFormatError, match=r"holds several models. Say which with --prefix") as error:
        inspect(path, config=checkpoints.CONFIG)
    listed = [line.split("'")[1] for line in str(error.value).splitlines()[1:]]
    assert len(listed) == 2
    digests = {each: inspect(path, config=checkpoints.CONFIG, prefix=each).sha256 for each in listed}
    assert len(set(digests.values())) == 2
    if key:
        assert inspect(path, config=checkpoints.CONFIG, key=key).sha256 == digests[listed[1]]
        assert verify(path, config=checkpoints.CONFIG, key=key, backends=["torch"]).sha256 == digests[listed[1]]
        done = convert(path, tmp_path / "out", to="hf", config=checkpoints.CONFIG, key=key)
        assert done.sha256 == digests[listed[1]]
    else:
        assert inspect(path, config=checkpoints.CONFIG, prefix="ema.net.").sha256 == digests[listed[1]]


def test_a_model_that_is_not_there_is_not_replaced_by_another(state, tmp_path):
    torch.save({"model": state["hf"]}, tmp_path / "one.pt")
    for asked in ({"key": "model_ema"}, {"prefix": "ema."}, {"prefix": ""}, {"key": "mod"}):
        with pytest.raises(CheckpointFormatError, match=r"(?s)no model where it is asked for.*'model\.' \(hf\)"):
            open_source(tmp_path / "one.pt", checkpoints.CONFIG, **asked)


ADAPTED = "text_model.encoder.layers.0.self_attn.q_proj"


def with_adapter(tensors):
    found = under("base_model.model.", tensors)
    found[f"base_model.model.{ADAPTED}.base_layer.weight"] = found.pop(f"base_model.model.{ADAPTED}.weight")
    return {**found, **adapter()}


def adapter():
    return {f"base_model.model.{ADAPTED}.lora_{each}.default.weight": torch.ones(2, 64) for each in "AB"}


@pytest.mark.parametrize("make", [with_adapter, lambda tensors: adapter()])
def test_an_adapter_that_is_not_merged_is_refused(state, tmp_path, make):
    torch.save(make(state["hf"]), tmp_path / "adapter_model.bin")
    with pytest.raises(CheckpointFormatError, match=r"adapter that is not merged.*merge_and_unload\(\)"):
        inspect(tmp_path / "adapter_model.bin", config=checkpoints.CONFIG)


def test_the_search_is_bounded():
    mark, tensor = "text_model.encoder.layers.0.layer_norm1.weight", constant(np.zeros(1, "f4"))
    for names in ([f"a{i}.{mark}" for i in range(30)], ["a." * i + mark for i in range(30)]):
        container = Container(path=pathlib.Path("many.pt"), kind="torch", tensors=dict.fromkeys(names, tensor))
        with pytest.raises(CheckpointFormatError, match="many.pt: refused, since 3. prefixes may hold models"):
            unwrapped(container)


def text_tower(tensors, *, of):
    if of == "hf":
        return {name: tensor for name, tensor in tensors.items() if name.startswith("text_model.")}
    return {name: tensor for name, tensor in tensors.items() if not name.startswith("visual.")}


def stable_diffusion_xl(state):
    return {
        "model.diffusion_model.input_blocks.0.0.weight": torch.ones(3),
        **under("conditioner.embedders.0.transformer.", text_tower(state["hf"], of="hf")),
        **under("conditioner.embedders.1.model.", changed(text_tower(state["openai"], of="openai"))),
    }


def test_text_encoders_of_stable_diffusion_s_single_files(state, tmp_path):
    config = checkpoints.CONFIG.text_config
    sd1 = {
        "model.diffusion_model.out.weight": torch.ones(3),
        "model.diffusion_model.out.bias": torch.ones(3),
        **under("cond_stage_model.transformer.", text_tower(state["hf"], of="hf")),
    }
    torch.save({"state_dict": sd1}, tmp_path / "sd1.ckpt")
    first = inspect(tmp_path / "sd1.ckpt", config=config)
    assert first.architecture == "CLIPTextModel"
    assert first.notes == (
        "names: 'state_dict.cond_stage_model.transformer.' was taken off the front",
        "left out, since they do not belong to it: 'state_dict.model.diffusion_model.out.weight' and 1 more",
    )
    path = tmp_path / "sdxl.ckpt"
    torch.save(stable_diffusion_xl(state), path)
    with pytest.raises(CheckpointFormatError, match="several models"):
        inspect(path, config=config)
    assert inspect(path, config=config, prefix="conditioner.embedders.0.transformer.").sha256 == first.sha256
    second = inspect(path, config=config, prefix="conditioner.embedders.1.model.")
    assert (second.format, second.architecture) == ("open_clip", "CLIPTextModelWithProjection")
    convert(path, tmp_path / "out", to="hf", config=config, prefix="conditioner.embedders.1.model.")
    got = open_container(tmp_path / "out/model.safetensors").tensors["text_projection.weight"].read()
    np.testing.assert_array_equal(got, state["hf"]["text_projection.weight"].numpy() + 1)


def test_clipseg_brings_its_configuration(source, state, tmp_path):
    described = json.loads((source / "config.json").read_text())
    described["model_type"] = "clipseg"
    for tower in ("text", "vision"):
        described[f"{tower}_config"]["model_type"] = f"clipseg_{tower}_model"
    (tmp_path / "config.json").write_text(json.dumps({**described, "reduce_dim": 64}))
    torch.save(ONE["CLIPSeg"](state), tmp_path / "pytorch_model.bin")
    found = inspect(tmp_path)
    assert found.sha256 == inspect(source).sha256
    assert found.config_origin == "config.json"
    assert found.config["text_config"] == inspect(source).config["text_config"]
    for key, kind in (("image_processor_type", "ViTImageProcessor"), ("feature_extractor_type", "ViTFeatureExtractor")):
        (tmp_path / "preprocessor_config.json").write_text(
            json.dumps({key: kind, "image_mean": [0.4] * 3, "size": 352})
        )
        done = convert(tmp_path, tmp_path / kind, to="hf")
        assert f"preprocessor: the source's, a {kind}, is that of the model around, and left out" in done.notes
        written = json.loads((tmp_path / kind / "preprocessor_config.json").read_text())
        assert (written["crop_size"]["height"], written["image_mean"][0]) == (28, 0.48145466)


def pipeline(source, directory, names):
    """A pipeline of diffusers with text encoders of these names, each with its tokenizer."""
    (directory / "unet").mkdir(parents=True)
    (directory / "model_index.json").write_text("{}")
    for name in names:
        shutil.copytree(source, directory / name)
        tokenizer = directory / name.replace("text_encoder", "tokenizer")
        tokenizer.mkdir()
        (tokenizer / "vocab.json").write_text('{"a</w>": 0}')
        (tokenizer / "merges.txt").write_text("#version: 0.2\n")
    return directory


def test_the_only_text_encoder_of_a_pipeline_is_taken_with_its_tokenizer(source, tmp_path):
    sd1 = pipeline(source, tmp_path / "sd1", ["text_encoder"])
    found = inspect(sd1)
    assert found.sha256 == inspect(source).sha256
    assert found.files == ("vocab.json", "merges.txt")
    assert found.path == str(sd1 / "text_encoder/model.safetensors")
    (sd1 / "text_encoder/model.safetensors").rename(sd1 / "text_encoder/model.fp16.safetensors")
    assert inspect(sd1).sha256 == found.sha256


def test_of_several_text_encoders_none_is_guessed(source, tmp_path):
    sdxl = pipeline(source, tmp_path / "sdxl", ["text_encoder", "text_encoder_2"])
    with pytest.raises(CheckpointFormatError, match=r"(?s)several checkpoints.*sdxl/text_encoder\n.*text_encoder_2$"):
        inspect(sdxl)
    assert inspect(sdxl / "text_encoder_2").sha256 == inspect(source).sha256


def test_of_several_variants_none_is_guessed(source, tmp_path):
    shutil.copytree(source, tmp_path / "in")
    for variant in ("fp16", "non_ema"):
        shutil.copy(tmp_path / "in/model.safetensors", tmp_path / f"in/model.{variant}.safetensors")
    assert inspect(tmp_path / "in").path.endswith("in/model.safetensors")
    (tmp_path / "in/model.safetensors").unlink()
    with pytest.raises(CheckpointFormatError, match=r"(?s)several checkpoints.*fp16.*non_ema"):
        inspect(tmp_path / "in")
    assert inspect(tmp_path / "in/model.fp16.safetensors").sha256 == inspect(source).sha256
