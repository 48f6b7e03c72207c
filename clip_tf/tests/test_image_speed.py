"""What the image tower leaves out is what nobody reads, and is computed where somebody looks on.

On any framework: ``KERAS_BACKEND=torch pytest clip_tf/tests/test_image_speed.py``.
"""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from clip_core.errors import InputError, InputTypeError
from clip_core.tests.sizes import IMAGES
from clip_tf import TFCLIPModel, layers
from clip_tf.frameworks import framework

DROPPING = replace(IMAGES, vision_config=replace(IMAGES.vision_config, attention_dropout=0.5))
PIXELS = np.random.default_rng(7).standard_normal((2, 3, 28, 28), np.float32)


@pytest.fixture
def model():
    return TFCLIPModel(IMAGES, seed=5)


def of_all_tokens(model, **options):
    pooled = model.vision_model(pixel_values=ops.convert_to_tensor(PIXELS), **options).pooler_output
    return ops.convert_to_numpy(model.visual_projection(pooled))


def tokens_of_last_mlp(model, **options):
    """How many tokens the last block computes for image features, and the features."""
    mlp, seen = model.vision_model.encoder.layers[-1].mlp, []
    activation = mlp.activation_fn
    mlp.activation_fn = lambda x: seen.append(x.shape[1]) or activation(x)
    features = model.get_image_features(PIXELS, **options)
    mlp.activation_fn = activation
    return seen, ops.convert_to_numpy(features)


def assert_same(got, wanted):
    np.testing.assert_allclose(got, wanted, atol=1e-5, rtol=1e-4)


def test_features_need_the_class_token_alone(model):
    seen, features = tokens_of_last_mlp(model)
    assert seen == [1]
    assert_same(features, of_all_tokens(model))


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("change", ["quantize", "enable_lora"])
def test_changed_layers_work_on_the_class_token(model, change):
    if change == "quantize":
        model.quantize("int8")
    else:
        model.enable_lora(2)
        for variable in model.trainable_variables:
            variable.assign(ops.ones(variable.shape) / 4)
    seen, features = tokens_of_last_mlp(model)
    assert seen == [1]
    assert_same(features, of_all_tokens(model))


def test_a_symbolic_input_of_any_batch(model):
    pixels = keras.Input((3, 28, 28))
    functional = keras.Model(pixels, model.get_image_features(pixels))
    assert functional.output_shape == (None, 18)
    assert_same(ops.convert_to_numpy(functional(PIXELS)), of_all_tokens(model))


def patched(model):
    layer = model.vision_model.encoder.layers[-1].mlp.fc1
    ours = layer.call
    layer.call = lambda inputs, training: ours(inputs, training=training)


def regularized(model):
    model.vision_model.encoder.layers[-1].self_attn.q_proj.activity_regularizer = keras.regularizers.L2()


class Whole(keras.layers.Layer):
    """What takes what a layer always took."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer


class Block(Whole):
    mlp = property(lambda self: self.layer.mlp)

    def call(self, hidden_states, attention_mask, output_attentions=False, dropout_seed=None):
        return self.layer(hidden_states, attention_mask, output_attentions=output_attentions)


class Attention(Whole):
    def call(self, hidden_states, attention_mask, output_attentions=False, dropout_seed=None):
        return self.layer(hidden_states, attention_mask, output_attentions=output_attentions)


class Tower(Whole):
    encoder = property(lambda self: self.layer.encoder)

    def call(self, pixel_values, output_attentions, output_hidden_states, interpolate_pos_encoding):
        options = {"output_attentions": output_attentions, "output_hidden_states": output_hidden_states}
        return self.layer(pixel_values, **options, interpolate_pos_encoding=interpolate_pos_encoding)


def block_of_others(model):
    blocks = model.vision_model.encoder.layers
    blocks[-1] = Block(blocks[-1])


def attention_of_others(model):
    for block in model.vision_model.encoder.layers:
        block.self_attn = Attention(block.self_attn)


def tower_of_others(model):
    model.vision_model = Tower(model.vision_model)


@pytest.mark.parametrize("change", [patched, regularized, block_of_others, attention_of_others, tower_of_others])
def test_code_of_others_gets_what_it_always_got(model, change):
    expected = of_all_tokens(model)
    model._tracker.unlock()
    for layer in model._flatten_layers():
        layer._tracker.unlock()
    change(model)
    seen, features = tokens_of_last_mlp(model)
    assert seen == [17]
    assert_same(features, expected)


def test_a_patched_class_sees_all_tokens(model, monkeypatch):
    original = layers.Attention.call

    def call(self, hidden_states, attention_mask, output_attentions=False, dropout_seed=None):
        return original(self, hidden_states, attention_mask, output_attentions, dropout_seed)

    monkeypatch.setattr(layers.Attention, "call", call)
    assert tokens_of_last_mlp(model)[0] == [17]


def test_a_hook_of_torch_sees_all_tokens(model):
    layer = model.vision_model.encoder.layers[-1].mlp.fc2
    if keras.backend.backend() == "torch":
        layer.register_forward_hook(lambda *given: None)
    assert framework.has_hooks([layer]) == (keras.backend.backend() == "torch")
    assert tokens_of_last_mlp(model)[0] == [17 if framework.has_hooks([layer]) else 1]


def test_attention_that_is_dropped_out_has_the_numbers_of_all_tokens():
    one, two = (TFCLIPModel(DROPPING, seed=5) for _ in range(2))
    for model in (one, two):
        model.vision_model.encoder.dropout_seeds.state.assign(ops.convert_to_tensor([3, 4], "uint32"))
    seen, features = tokens_of_last_mlp(one, training=True)
    assert seen == [17]
    assert_same(features, of_all_tokens(two, training=True))


def test_a_recomputed_block_computes_the_class_token(model):
    model.gradient_checkpointing_enable()
    seen, features = tokens_of_last_mlp(model, training=True)
    assert set(seen) == {1}
    assert_same(features, of_all_tokens(model))


def graphs_of(model):
    kept = vars(model.vision_model).get("graphs_of_pooled_output")
    return len(kept.by_inputs) if kept else 0


def test_one_graph_for_all_batches_from_the_second_call_on(model):
    expected = of_all_tokens(model)
    for pixels in (PIXELS, PIXELS, ops.convert_to_tensor(PIXELS[:1])):
        assert_same(ops.convert_to_numpy(model.get_image_features(pixels)), expected[: len(pixels)])
    assert graphs_of(model) == int(framework.HAS_GRAPHS)
    kernel = model.vision_model.embeddings.patch_embedding.kernel
    kernel.assign(ops.convert_to_numpy(kernel) * 2)
    assert_same(ops.convert_to_numpy(model.get_image_features(PIXELS)), of_all_tokens(model))
    wide = np.concatenate([PIXELS, PIXELS], axis=3)
    for _ in range(2):
        assert model.get_image_features(wide, interpolate_pos_encoding=True).shape == (2, 18)
    assert graphs_of(model) == int(framework.HAS_GRAPHS)


def test_a_graph_refuses_what_the_tower_refuses(model):
    for _ in range(3):
        model.get_image_features(PIXELS)
        with pytest.raises(InputError, match="of pixels that are not"):
            model.get_image_features(np.abs(PIXELS) * 100)
        with pytest.raises(InputError, match="pixel_values"):
            model.get_image_features(PIXELS[:, :, :21])
        with pytest.raises(InputTypeError, match="got uint8"):
            model.get_image_features(PIXELS.astype(np.uint8))
