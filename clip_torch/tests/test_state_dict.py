"""State dicts have the field's keys, to the letter: they go into and out of transformers' classes, and into files."""

import pytest
import torch
import transformers
from safetensors.torch import save_file

import clip_torch
from clip_core.tests.sizes import DISTINCT

CLASSES = {
    "CLIPModel": DISTINCT,
    "CLIPTextModel": DISTINCT.text_config,
    "CLIPTextModelWithProjection": DISTINCT.text_config,
    "CLIPVisionModel": DISTINCT.vision_config,
    "CLIPVisionModelWithProjection": DISTINCT.vision_config,
}


def pair(name):
    """Our model, and theirs with other weights."""
    config = CLASSES[name]
    theirs_config = getattr(transformers, type(config).__name__).from_dict(config.to_dict())
    return getattr(clip_torch, name)(config, seed=5).eval(), getattr(transformers, name)(theirs_config).eval()


def assert_same(ours, theirs):
    expected = theirs.state_dict()
    assert set(ours.state_dict()) == set(expected)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize("name", CLASSES)
def test_strictly_into_transformers(name):
    ours, theirs = pair(name)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", CLASSES)
def test_strictly_out_of_transformers(name):
    ours, theirs = pair(name)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", CLASSES)
def test_through_a_file(name, tmp_path):
    """As `accelerator.save_model`, `Trainer.save_model` and `save_file(model.state_dict())` write it."""
    ours, theirs = pair(name)
    save_file(ours.state_dict(), tmp_path / "model.safetensors", {"format": "pt"})
    ours.config.save_pretrained(tmp_path)
    theirs.load_state_dict(getattr(clip_torch, name).from_pretrained(tmp_path).state_dict(), strict=True)
    assert_same(ours, theirs)


def test_the_clean_spelling_is_the_same_module_and_no_key():
    model = clip_torch.CLIPVisionModel(DISTINCT.vision_config)
    assert model.vision_model.pre_layernorm is model.vision_model.pre_layrnorm
    assert not any("pre_layernorm" in name for name in model.state_dict())


def test_a_file_with_the_clean_spelling_is_read(tmp_path):
    model = clip_torch.CLIPModel(DISTINCT, seed=5)
    state = {name.replace("pre_layrnorm", "pre_layernorm"): value for name, value in model.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    DISTINCT.save_pretrained(tmp_path)
    loaded = clip_torch.CLIPModel.from_pretrained(tmp_path).state_dict()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(loaded[name], value, rtol=0, atol=0)
