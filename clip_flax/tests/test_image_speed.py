"""What the image tower leaves out is what nobody reads, and is computed where somebody looks on."""

import functools
import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from clip_core.tests.sizes import IMAGES
from clip_flax import FlaxCLIPModel, layers
from clip_flax.vision import VisionTransformer

CONFIG = replace(IMAGES, vision_config=replace(IMAGES.vision_config, num_hidden_layers=2, attention_dropout=0.5))
PIXELS = jnp.asarray(np.random.default_rng(7).standard_normal((2, 3, 28, 28), np.float32))


@pytest.fixture
def model():
    return FlaxCLIPModel(CONFIG, seed=5)


def of_all_tokens(model, pixels=PIXELS):
    return model.visual_projection(model.vision_model(pixels).pooler_output)


def tokens_of_mlps(model, **options):
    """How many tokens the blocks' wide layers give, in the order of a trace."""
    with jax.disable_jit():
        trace = str(jax.make_jaxpr(lambda model: model.get_image_features(PIXELS, **options))(model))
    return [int(count) for count in re.findall(r"f32\[2,(\d+),56\] = logistic", trace)]


def assert_same(got, wanted):
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-4)


def test_features_need_the_class_token_alone(model):
    assert tokens_of_mlps(model) == [17, 1]
    expected = of_all_tokens(model)
    assert_same(model.get_image_features(PIXELS), expected)
    assert_same(model.get_image_features(PIXELS, params=model.params), expected)
    assert_same(nnx.jit(FlaxCLIPModel.get_image_features)(model, PIXELS), expected)
    assert_same(jax.vmap(lambda pixels: model.get_image_features(pixels[None])[0])(PIXELS), expected)


def test_gradients_are_those_of_all_tokens(model):
    def gradients(features):
        return jax.tree.leaves(nnx.jit(nnx.grad(lambda model: jnp.square(features(model)).sum()))(model))

    def assert_gradients():
        for got, wanted in zip(gradients(lambda model: model.get_image_features(PIXELS)), expected, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=1e-4)

    expected = gradients(of_all_tokens)
    assert_gradients()
    model.gradient_checkpointing_enable()
    assert_gradients()


def recording_activation(model):
    mlp = model.vision_model.encoder.layers[-1].mlp
    activation = mlp.activation_fn
    mlp.activation_fn = lambda x: activation(x)


def linear_of_others(model):
    class Linear(nnx.Linear):
        pass

    mlp = model.vision_model.encoder.layers[-1].mlp
    mlp.fc1, ours = Linear(40, 56, rngs=nnx.Rngs(0)), mlp.fc1
    mlp.fc1.kernel, mlp.fc1.bias = ours.kernel, ours.bias


def block_of_others(model):
    class Whole(nnx.Module):
        def __init__(self, block):
            self.block = block

        def __call__(self, hidden_states, attention_mask, output_attentions, dropout_rng):
            return self.block(hidden_states, attention_mask, output_attentions, dropout_rng)

    blocks = model.vision_model.encoder.layers
    blocks[-1] = Whole(blocks[-1])


def attention_of_others(model):
    class Whole(nnx.Module):
        def __init__(self, attention):
            self.attention = attention

        def __call__(self, hidden_states, attention_mask, output_attentions, dropout_rng):
            return self.attention(hidden_states, attention_mask, output_attentions, dropout_rng)

    for block in model.vision_model.encoder.layers:
        block.self_attn = Whole(block.self_attn)


def tower_of_others(model):
    class Whole(nnx.Module):
        def __init__(self, tower):
            self.tower = tower

        def __call__(self, pixel_values, attentions, states, interpolate_pos_encoding, dropout_rng, train):
            return self.tower(pixel_values, attentions, states, interpolate_pos_encoding, dropout_rng, train)

    model.vision_model = Whole(model.vision_model)


@pytest.mark.parametrize(
    "change", [recording_activation, linear_of_others, block_of_others, attention_of_others, tower_of_others]
)
def test_code_of_others_gets_what_it_always_got(model, change):
    expected = of_all_tokens(model)
    change(model)
    assert tokens_of_mlps(model) == [17, 17]
    assert_same(model.get_image_features(PIXELS), expected)


@pytest.mark.parametrize(
    "owner", [layers.MLP, layers.Attention, layers.EncoderLayer, layers.Encoder, VisionTransformer]
)
def test_a_patched_method_sees_all_tokens(model, owner, monkeypatch):
    original = owner.__call__
    monkeypatch.setattr(owner, "__call__", functools.wraps(original)(lambda *args, **more: original(*args, **more)))
    assert tokens_of_mlps(model) == [17, 17]


def test_outputs_that_are_captured_are_those_of_all_tokens(model):
    capture = nnx.capture(model.get_image_features, nnx.Intermediate, method_outputs=nnx.Intermediate)
    _, found = capture(PIXELS)
    (seen,) = found["vision_model"]["encoder"]["layers"][1]["mlp"]["__call__"].get_value()
    assert seen.shape == (2, 17, 40)


def test_attention_that_is_dropped_out_has_the_numbers_of_all_tokens(model):
    key = jax.random.key(3)
    expected = model.visual_projection(model.vision_model(PIXELS, dropout_rng=key).pooler_output)
    assert_same(model.get_image_features(PIXELS, dropout_rng=key, train=True), expected)


def test_adapters_work_on_the_class_token(model):
    mlp = model.vision_model.encoder.layers[-1].mlp
    mlp.fc1 = nnx.LoRA(40, 2, 56, base_module=mlp.fc1, rngs=nnx.Rngs(0))
    mlp.fc1.lora_b[...] = jnp.ones(mlp.fc1.lora_b.shape)
    assert tokens_of_mlps(model) == [17, 1]
    assert_same(model.get_image_features(PIXELS), of_all_tokens(model))
