"""What the image tower leaves out or does in one go is what it would be, and is left alone where somebody looks on."""

from dataclasses import replace

import pytest
import torch

from clip_core.tests.sizes import IMAGES
from clip_torch import CLIPModel
from clip_torch.layers import is_watched, quick_gelu
from clip_torch.mapped import MappedWeights


@pytest.fixture
def model():
    return CLIPModel(IMAGES, seed=5).eval()


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(7))


def of_all_tokens(model, pixels):
    return model.visual_projection(model.vision_model(pixels).pooler_output)


def tokens_of_last_mlp(model, pixels):
    """How many tokens the last block computes for image features, without a hook that would change it."""
    mlp, seen = model.vision_model.encoder.layers[-1].mlp, []
    activation = mlp.activation_fn
    mlp.activation_fn = lambda x: seen.append(x.shape[1]) or activation(x)
    features = model.get_image_features(pixels)
    mlp.activation_fn = activation
    return seen, features


def test_features_need_the_class_token_alone(model, pixels):
    seen, features = tokens_of_last_mlp(model, pixels)
    assert seen == [1]
    torch.testing.assert_close(features, of_all_tokens(model, pixels))


def test_what_checks_mapped_weights_does_not_look_on(model, pixels):
    MappedWeights().watch(model)
    assert model.vision_model._forward_pre_hooks
    assert tokens_of_last_mlp(model, pixels)[0] == [1]
    assert not is_watched(model.text_model.modules())


def test_gradients_are_those_of_all_tokens(model, pixels):
    model.get_image_features(pixels).square().sum().backward()
    narrow = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    of_all_tokens(model, pixels).square().sum().backward()
    for name, gradient in narrow.items():
        torch.testing.assert_close(gradient, model.get_parameter(name).grad, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "path", ["", "encoder", "encoder.layers.2", "encoder.layers.2.self_attn.q_proj", "encoder.layers.2.mlp.fc1"]
)
@pytest.mark.parametrize(
    "register",
    ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"],
)
def test_who_looks_on_sees_all_tokens(model, pixels, path, register):
    getattr(model.vision_model.get_submodule(path), register)(lambda *given: None)
    seen, features = tokens_of_last_mlp(model, pixels)
    assert seen == [17]
    torch.testing.assert_close(features, of_all_tokens(model, pixels))


def test_a_hook_on_every_module_sees_all_tokens(model, pixels):
    hook = torch.nn.modules.module.register_module_forward_hook(lambda *given: None)
    try:
        assert tokens_of_last_mlp(model, pixels)[0] == [17]
    finally:
        hook.remove()


def test_a_block_of_others_gets_what_it_always_got(model, pixels):
    class Whole(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer

        def forward(self, hidden_states, attention_mask, output_attentions):
            assert hidden_states.shape == (2, 17, 40)
            return self.layer(hidden_states, attention_mask, output_attentions)

    layers, expected = model.vision_model.encoder.layers, of_all_tokens(model, pixels)
    layers[-1] = Whole(layers[-1])
    torch.testing.assert_close(model.get_image_features(pixels), expected)


def test_attention_of_others_gets_what_it_always_got(model, pixels):
    class Whole(torch.nn.Module):
        def __init__(self, attention):
            super().__init__()
            self.attention = attention

        def forward(self, hidden_states, attention_mask, output_attentions):
            return self.attention(hidden_states, attention_mask, output_attentions)

    expected = of_all_tokens(model, pixels)
    for block in model.vision_model.encoder.layers:
        block.self_attn = Whole(block.self_attn)
    torch.testing.assert_close(model.get_image_features(pixels), expected)


def test_a_method_of_others_sees_all_tokens(model, pixels):
    block, seen = model.vision_model.encoder.layers[-1], []
    ours = block.forward

    def forward(hidden_states, attention_mask, output_attentions):
        output = ours(hidden_states, attention_mask, output_attentions)
        seen.append(output[0].shape)
        return output

    block.forward = forward
    model.get_image_features(pixels)
    assert seen == [(2, 17, 40)]


def test_a_tower_of_others_gets_what_it_always_got(model, pixels):
    class Whole(torch.nn.Module):
        def __init__(self, tower):
            super().__init__()
            self.tower = tower

        def forward(self, pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding):
            return self.tower(pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding)

    expected = of_all_tokens(model, pixels)
    model.vision_model = Whole(model.vision_model)
    torch.testing.assert_close(model.get_image_features(pixels), expected)


def test_attention_that_is_dropped_out_has_the_numbers_of_all_tokens(model, pixels):
    tower = model.train().vision_model
    tower.config = replace(tower.config, attention_dropout=0.5)
    for block in tower.encoder.layers:
        block.self_attn.dropout_rate = 0.5
    torch.manual_seed(0)
    features = model.get_image_features(pixels)
    torch.manual_seed(0)
    torch.testing.assert_close(features, of_all_tokens(model, pixels))


def test_a_block_that_is_compiled_by_itself_gets_what_it_always_got(model, pixels):
    model.vision_model.encoder.layers[-1].compile(backend="eager")
    with torch.no_grad():
        assert tokens_of_last_mlp(model, pixels)[0] == [17]


def test_a_trace_is_that_of_a_call_without_gradients(model):
    """torch.jit.trace compares them."""
    traced = torch.jit.trace(model.vision_model.encoder.layers[0].mlp, torch.ones(1, 40))
    torch.testing.assert_close(traced(torch.ones(2, 40)), model.vision_model.encoder.layers[0].mlp(torch.ones(2, 40)))


def test_quick_gelu_has_the_same_bits_without_gradients():
    x = torch.linspace(-30, 30, 1001)
    kept, expected = x.clone(), quick_gelu(x)
    with torch.no_grad():
        assert torch.equal(quick_gelu(x), expected)
    assert torch.equal(x, kept)
    assert torch.equal(expected, x * torch.sigmoid(1.702 * x))
