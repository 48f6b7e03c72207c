"""Modules that are called outside of a trace are compiled, and what is changed afterwards counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPModel, compilation
from clip_flax.layers import BLOCK_PARTS, MLP, Attention, EncoderLayer


@pytest.fixture
def made(monkeypatch):
    """The results of looking for programs, in a cache of its own."""
    programs, original = [], functools.lru_cache(compilation._program.__wrapped__)

    def look_up(*key):
        programs.append(original(*key))
        return programs[-1]

    monkeypatch.setattr(compilation, "_program", look_up)
    return programs


@pytest.fixture
def block(model):
    return nnx.clone(model.vision_model.encoder.layers[1])


X = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 20), np.float32))


def compiled(block, rng=None):
    return compilation.compiled(BLOCK_PARTS, block, X, None, False, rng)[0]


def test_modules_built_alike_share_one_program(model, inputs, made):
    model(**inputs)
    assert len(made) == 7  # embeddings, encoder and LayerNorm of the texts; those and one more LayerNorm of the images
    assert len(set(made)) == 6  # LayerNorms of a width, each for its shape of inputs
    assert sum(program._cache_size() for program in set(made)) == 7
    compiled(model.vision_model.encoder.layers[0])
    compiled(model.vision_model.encoder.layers[1])
    assert made[7] is made[8]


def test_params_are_arguments_of_the_program(model, inputs, made, assert_same):
    other = FlaxCLIPModel(DISTINCT, seed=4)
    assert_same(model(**inputs, params=other.params), other(**inputs), atol=0)
    assert sum(program._cache_size() for program in set(made)) == 7


def test_of_a_changed_encoder_the_other_blocks_are_compiled(model, inputs, made, assert_same):
    changed, seen = nnx.clone(model), []
    recording_activation(changed.vision_model.encoder.layers[1], seen.append)
    expected = jax.jit(lambda model: model.get_image_features(inputs["pixel_values"]))(changed)
    made.clear(), seen.clear()
    assert_same(changed.get_image_features(inputs["pixel_values"]), expected)
    assert len(seen) == 1
    assert [program is None for program in made].count(True) == 2  # the encoder, and this one of its blocks
    assert len(made) == 4 + len(changed.vision_model.encoder.layers)


def test_truth_values_have_programs_of_their_own(model, inputs, made):
    output = model(**inputs, output_attentions=True, output_hidden_states=np.True_)
    assert all(made)
    assert len(output.vision_model_output.attentions) == len(model.vision_model.encoder.layers)
    assert model(**inputs).vision_model_output.attentions is None


def test_in_a_trace_there_is_no_other_program(block, made):
    jax.make_jaxpr(lambda x: block(x, None))(X)
    jax.make_jaxpr(lambda block: compiled(block))(block)
    jax.make_jaxpr(jax.grad(lambda block: compiled(block).sum()))(block)
    assert not made


def weights_in_place(block):
    block.mlp.fc1.kernel[...] = block.mlp.fc1.kernel[...] * 2


def dtype_of_a_layer(block):
    block.mlp.fc1.dtype = jnp.dtype("float16")


def heads(block):
    block.self_attn.num_heads, block.self_attn.head_dim = block.self_attn.head_dim, block.self_attn.num_heads


def epsilon(block):
    block.layer_norm1.epsilon = 0.5


def lora(block):
    block.mlp.fc1 = nnx.LoRA(20, 2, block.mlp.fc1.out_features, base_module=block.mlp.fc1, rngs=nnx.Rngs(0))
    block.mlp.fc1.lora_b[...] = jnp.ones(block.mlp.fc1.lora_b.shape)


@pytest.mark.parametrize(
    "change", [weights_in_place, dtype_of_a_layer, heads, epsilon, lora], ids=lambda change: change.__name__
)
def test_a_change_is_compiled_anew(block, change, made):
    before = compiled(block)
    change(block)
    after = compiled(block)
    assert all(made)
    assert float(jnp.abs(after - before).max()) > 1e-5
    np.testing.assert_allclose(after, block(X, None)[0], atol=1e-5, rtol=1e-4)


def test_dropout_follows_its_key(block, made):
    still, one, two = compiled(block), jax.random.key(1), jax.random.key(2)
    block.self_attn.dropout.rate = 0.5
    np.testing.assert_array_equal(compiled(block), still)
    np.testing.assert_allclose(compiled(block, one), block(X, None, False, one)[0], atol=1e-5, rtol=1e-4)
    assert not np.array_equal(compiled(block, one), compiled(block, two))
    assert all(made)


def recording_activation(block, record):
    original = block.mlp.activation_fn

    def activation(x):
        record(x)
        return original(x) * 2

    block.mlp.activation_fn = functools.wraps(original)(activation)


def layer_of_another_class(block, record):
    class Recording(nnx.Linear):
        def __call__(self, inputs):
            record(inputs)
            return super().__call__(inputs) * 2

    block.mlp.fc1.__class__ = Recording


def module_without_parameters(block, record):
    class Recording(nnx.Module):
        def __call__(self, inputs):
            record(inputs)
            return inputs

    block.mlp.activation_fn = nnx.data(Recording())


def block_of_another_class(block, record):
    class Recording(EncoderLayer):
        def __call__(self, hidden_states, *args):
            record(hidden_states)
            return super().__call__(hidden_states * 2, *args)

    block.__class__ = Recording


def parameter_of_another_class(block, record):
    class Doubled(nnx.Param):
        def get_value(self, **options):
            record(self)
            return super().get_value(**options) * 2

    block.mlp.fc1.bias = Doubled(block.mlp.fc1.bias[...] + 1)


def random_numbers_of_its_own(block, record):
    block.self_attn.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    recording_activation(block, record)


def unhashable_attribute(block, record):
    block.mlp.notes = nnx.static({"a": []})
    recording_activation(block, record)


AS_IT_STANDS = [
    recording_activation,
    layer_of_another_class,
    module_without_parameters,
    block_of_another_class,
    parameter_of_another_class,
    random_numbers_of_its_own,
    unhashable_attribute,
]


@pytest.mark.parametrize("change", AS_IT_STANDS, ids=lambda change: change.__name__)
def test_what_could_leave_something_behind_runs_as_it_stands(block, change):
    before, seen = compiled(block), []
    change(block, seen.append)
    after = compiled(block)
    once = len(seen)
    compiled(block)
    assert len(seen) == 2 * once > 0
    assert not any(isinstance(value, jax.core.Tracer) for value in seen)
    assert float(jnp.abs(after - before).max()) > 1e-5


@pytest.mark.parametrize("owner", [MLP, Attention, nnx.Linear, nnx.LayerNorm], ids=lambda owner: owner.__name__)
def test_a_patched_method_counts_as_long_as_it_is_there(block, owner, monkeypatch):
    before, original, seen = compiled(block), owner.__call__, []

    @functools.wraps(original)
    def patched(self, *args, **options):
        seen.append(args)
        return original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, "__call__", patched)
        compiled(block)
        once = len(seen)
        compiled(block)
    assert len(seen) == 2 * once > 0
    np.testing.assert_array_equal(compiled(block), before)
    assert len(seen) == 2 * once


def test_a_block_of_another_class_is_called_itself_with_checkpointing_too(model, inputs):
    changed, seen = nnx.clone(model), []
    block_of_another_class(changed.vision_model.encoder.layers[1], seen.append)
    plain = changed.get_image_features(inputs["pixel_values"])
    changed.gradient_checkpointing_enable()
    np.testing.assert_allclose(changed.get_image_features(inputs["pixel_values"]), plain, atol=1e-5)
    assert len(seen) == 2
