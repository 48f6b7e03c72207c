"""The models as models of transformers: isinstance, the same numbers, all weights or an error, nothing lost on a save.

With other versions of transformers, and in diffusers, peft and others: ``conformance_tests/clients``."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers

import clip_torch
from clip_core.errors import InputError, InputTypeError, WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_torch import hf

MODELS = [name for name in hf.__all__ if "Model" in name]
TOWERS = [name for name in MODELS if name != "CLIPModel"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    directory = tmp_path_factory.mktemp("checkpoint")
    clip_torch.CLIPModel(DISTINCT, seed=3).save_pretrained(directory)
    return directory


def inputs_of(name):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 59, (2, 9), generator=generator)
    ids[:, 6:] = DISTINCT.text_config.eos_token_id
    pixels = torch.randn(3, 3, 30, 30, generator=generator)
    given = {"Text": {"input_ids": ids}, "Vision": {"pixel_values": pixels}}
    kinds = [kind for kind in given if kind in name] or list(given)
    return {key: value for kind in kinds for key, value in given[kind].items()}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_a_model_of_transformers_with_the_numbers_of_ours(name, checkpoint, tmp_path):
    model, own = (getattr(home, name).from_pretrained(checkpoint) for home in (hf, clip_torch))
    assert isinstance(model, getattr(transformers, name))
    assert isinstance(model.config, transformers.PretrainedConfig)
    output, expected = (m(**inputs_of(name), output_hidden_states=True) for m in (model, own))
    assert isinstance(output, transformers.utils.ModelOutput)
    assert tuple(output) == expected.keys()
    assert all(torch.equal(output[key], expected[key]) for key in output if isinstance(output[key], torch.Tensor))
    model.save_pretrained(tmp_path)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), type(model).from_pretrained(tmp_path)):
        assert torch.equal(again(**inputs_of(name))[0], output[0])
    again = getattr(clip_torch, name).from_pretrained(tmp_path)
    assert again.config == own.config
    assert not model.training


def test_the_switches_of_its_configuration_hold(checkpoint):
    model = hf.CLIPTextModel.from_pretrained(checkpoint)
    model.config.output_hidden_states = True
    assert len(model(**inputs_of("Text")).hidden_states) == 3
    assert model(inputs_of("Text")["input_ids"], None, None, False, False).hidden_states is None
    assert isinstance(model(**inputs_of("Text"), return_dict=False), tuple)


def test_weights_that_are_missing_or_too_many_are_errors(checkpoint, tmp_path):
    model = hf.CLIPModel.from_pretrained(checkpoint)
    model.text_model.encoder.layers = model.text_model.encoder.layers[:1]
    with pytest.raises(WeightMismatchError, match=r"layers\.1\.layer_norm1\.weight"):
        model.save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WeightMismatchError, match="text_model"):
        hf.CLIPModel.from_pretrained(checkpoint, text_config={"num_hidden_layers": 3})


@pytest.mark.parametrize("name", TOWERS)
def test_a_configuration_for_another_class_is_an_error(name):
    with pytest.raises(InputTypeError, match=f"{name}: expected a CLIP(Text|Vision)Config, got CLIPConfig"):
        getattr(hf, name)(transformers.CLIPConfig())


def test_attention_is_computed_as_told_or_it_is_an_error(checkpoint):
    model = hf.CLIPModel.from_pretrained(checkpoint, attn_implementation="eager")
    block = model.text_model.encoder.layers[0].self_attn
    assert not block.fused_attention
    assert model.config._attn_implementation == "eager"
    assert not hf.CLIPModel(model.config).vision_model.encoder.layers[0].self_attn.fused_attention
    model.set_attn_implementation("sdpa")
    assert block.fused_attention
    with pytest.raises(InputError, match="flash_attention_2"):
        model.set_attn_implementation("flash_attention_2")


@pytest.mark.parametrize("name", [name for name in MODELS if "Vision" not in name])
def test_added_tokens_are_computed_saved_and_loaded(name, checkpoint, tmp_path):
    model, given = getattr(hf, name).from_pretrained(checkpoint), inputs_of(name)
    before = model(**given)[0]
    model.resize_token_embeddings(63, mean_resizing=False)
    assert torch.equal(model(**given)[0], before)
    given["input_ids"][0, 2] = 62
    after = model(**given)[0]
    assert not torch.equal(after, before)
    model.save_pretrained(tmp_path)
    assert torch.equal(type(model).from_pretrained(tmp_path)(**given)[0], after)


def test_auto_classes_make_it_after_it_was_registered(checkpoint):
    mapping = transformers.AutoModel._model_mapping
    transformers.AutoModel.register(transformers.CLIPConfig, hf.CLIPModel, exist_ok=True)
    try:
        assert type(transformers.AutoModel.from_pretrained(checkpoint)) is hf.CLIPModel
        assert type(transformers.AutoModel.from_config(transformers.CLIPConfig(**DISTINCT.to_dict()))) is hf.CLIPModel
    finally:
        del mapping._extra_content[transformers.CLIPConfig]


def test_the_parts_of_a_lone_tower_have_the_names_of_old_and_new_transformers(checkpoint):
    text, vision = (getattr(hf, name).from_pretrained(checkpoint) for name in ("CLIPTextModel", "CLIPVisionModel"))
    for part in ("embeddings", "encoder", "final_layer_norm"):
        assert getattr(text, part) is getattr(text.text_model, part)
    for part in ("embeddings", "pre_layrnorm", "encoder", "post_layernorm"):
        assert getattr(vision, part) is getattr(vision.vision_model, part)


def test_features_are_those_of_ours(checkpoint):
    model, own = (home.CLIPModel.from_pretrained(checkpoint) for home in (hf, clip_torch))
    for method, kind in (("get_text_features", "Text"), ("get_image_features", "Vision")):
        features, expected = (getattr(m, method)(**inputs_of(kind)) for m in (model, own))
        features = getattr(features, "pooler_output", features)  # as of transformers 5
        np.testing.assert_array_equal(features.detach(), expected.detach())


def test_gradients_are_checkpointed_by_transformers_switch(checkpoint):
    model = hf.CLIPModel.from_pretrained(checkpoint).train()
    losses, gradients = [], []
    for enable in (False, True):
        if enable:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        inputs = inputs_of("CLIPModel")
        loss = model(inputs["input_ids"], inputs["pixel_values"][:2], return_loss=True).loss
        loss.backward()
        losses.append(loss)
        gradients.append(model.text_model.encoder.layers[0].mlp.fc1.weight.grad.clone())
    assert model.vision_model.encoder.gradient_checkpointing
    assert torch.equal(*losses)
    torch.testing.assert_close(*gradients)


def test_clip_torch_does_not_need_transformers():
    code = "import sys, clip_torch; print('transformers' in sys.modules)"
    code += "; sys.modules['transformers'] = None; import clip_torch.hf"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n"
    assert "MissingExtraError: clip_torch.hf needs 'transformers'" in done.stderr.splitlines()[-1]
    assert "pip install 'triclip[hf]'" in done.stderr
