"""Members that code around models of transformers touches."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from clip_core.errors import InputError, InputTypeError
from clip_core.tests.sizes import DISTINCT, RESNET
from clip_torch import CLIPModel, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionModel

EOS = DISTINCT.text_config.eos_token_id
IDS = torch.tensor([[5, 7, EOS]])


@pytest.mark.parametrize("kind", [CLIPModel, CLIPTextModelWithProjection])
def test_more_tokens_change_no_old_text_and_are_saved_and_loaded(tmp_path, kind):
    config = DISTINCT if kind is CLIPModel else DISTINCT.text_config
    model = kind(config, seed=3, dtype="bfloat16").eval().requires_grad_(False)
    encode = (lambda model: model.get_text_features) if kind is CLIPModel else (lambda model: model)
    expected = encode(model)(IDS)
    layer = model.resize_token_embeddings(63, pad_to_multiple_of=8)
    assert layer is model.get_input_embeddings()
    assert (layer.num_embeddings, layer.weight.shape, layer.weight.dtype) == (64, (64, 24), torch.bfloat16)
    assert not layer.weight.requires_grad
    layer.weight[61] = 1.0
    torch.testing.assert_close(encode(model)(IDS), expected, rtol=0, atol=0)
    new = torch.tensor([[61, 63, EOS]])
    model.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path, dtype="auto")
    torch.testing.assert_close(encode(loaded)(new), encode(model)(new), rtol=0, atol=0)
    assert (loaded.config if kind is not CLIPModel else loaded.config.text_config).vocab_size == 64
    with pytest.raises(InputError, match="expected 0 to 63, got 61 to 64"):
        encode(model)(new + 1)


def test_a_text_with_new_tokens_ends_where_it_did_before(tmp_path):
    """Where the largest id ends a text, a new token would."""
    model = CLIPTextModel(DISTINCT.text_config.changed({"eos_token_id": 2}), seed=3)
    before = model(torch.tensor([[5, 7, 60]])).pooler_output
    model.resize_token_embeddings(63)
    assert torch.equal(model(torch.tensor([[5, 7, 60]])).pooler_output, before)
    output = model(torch.tensor([[5, 62, 60, 61]]))
    assert torch.equal(output.pooler_output, output.last_hidden_state[:, 2])
    model.save_pretrained(tmp_path)
    assert CLIPTextModel.from_pretrained(tmp_path).config.eos_token_id == 60


def test_what_cannot_be_resized_says_why():
    model = CLIPModel(DISTINCT)
    assert model.resize_token_embeddings() is model.get_input_embeddings()
    with pytest.raises(InputError, match="expected more than 60, the id that ends a text, got 60"):
        model.resize_token_embeddings(60)
    with pytest.raises(InputError, match="mean_resizing: expected True"):
        model.resize_token_embeddings(70, mean_resizing=False)
    with pytest.raises(InputError, match="CLIPVisionModel has no tokens"):
        CLIPVisionModel(DISTINCT.vision_config).resize_token_embeddings(70)
    assert model.config == DISTINCT


def test_input_embeddings_are_those_that_read_the_input():
    model = CLIPModel(DISTINCT)
    assert model.get_input_embeddings() is model.text_model.embeddings.token_embedding
    vision = CLIPVisionModel(DISTINCT.vision_config)
    assert vision.get_input_embeddings() is vision.vision_model.embeddings.patch_embedding
    assert model.get_output_embeddings() is None
    model.set_input_embeddings(nn.Embedding(67, 24))
    assert model.config.text_config.vocab_size == model.text_model.config.vocab_size == 67
    with pytest.raises(InputError, match=r"expected an embedding \[vocab, 24\], got \[67, 25\]"):
        model.set_input_embeddings(nn.Embedding(67, 25))


def test_parameters_are_counted():
    model = CLIPModel(DISTINCT)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert model.num_parameters() == total
    model.text_model.requires_grad_(False)
    frozen = sum(parameter.numel() for parameter in model.text_model.parameters())
    assert model.num_parameters(only_trainable=True) == total - frozen
    tables = 61 * 24 + 11 * 24 + 17 * 20
    assert model.num_parameters(exclude_embeddings=True) == total - tables
    model.register_buffer("counter", torch.zeros(3))
    assert model.num_parameters() == total


def test_names_and_small_things(tmp_path):
    model = CLIPModel(DISTINCT)
    assert (model.name_or_path, model.main_input_name, model.can_generate()) == ("", "input_ids", False)
    assert CLIPVisionModel(DISTINCT.vision_config).main_input_name == "pixel_values"
    classes = {type(module).__name__ for each in (model, CLIPModel(RESNET)) for module in each.modules()}
    assert classes.issuperset(model._no_split_modules)
    model.save_pretrained(tmp_path)
    assert CLIPModel.from_pretrained(tmp_path).name_or_path == str(tmp_path)


def test_frozen_input_layers_can_give_what_needs_gradients():
    model = CLIPModel(DISTINCT).requires_grad_(False)
    pixels = torch.randn(1, 3, 30, 30)
    model.enable_input_require_grads()
    assert model.get_text_features(IDS).requires_grad
    assert model.get_image_features(pixels).requires_grad
    model.disable_input_require_grads()
    assert not model.get_text_features(IDS).requires_grad


def test_gradient_checkpointing_takes_torchs_words():
    model = CLIPModel(DISTINCT)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    assert model.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    with pytest.raises(InputError, match="expected nothing or {'use_reentrant': False}, got {'use_reentrant': True}"):
        model.gradient_checkpointing_enable({"use_reentrant": True})


def test_a_configuration_of_transformers_becomes_one_of_triclip(tmp_path):
    other = SimpleNamespace(model_type="clip", to_dict=lambda: {**DISTINCT.to_dict(), "transformers_version": "4.57.6"})
    model = CLIPModel(other)
    assert model.config == DISTINCT
    assert model.config.other_keys["transformers_version"] == "4.57.6"
    model.save_pretrained(tmp_path)
    assert CLIPModel.from_pretrained(tmp_path, config=other).config == DISTINCT
    with pytest.raises(InputTypeError, match="expected a CLIPTextConfig, got SimpleNamespace of model_type 'clip'"):
        CLIPTextModel(other)
