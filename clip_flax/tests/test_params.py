"""The functional form: weights as a tree beside the model, as with the Linen classes of transformers 4."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.core import freeze

from clip_core.errors import InputTypeError, WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPModel, FlaxCLIPTextModelWithProjection


@pytest.fixture(scope="module")
def other():
    return FlaxCLIPModel(DISTINCT, seed=4)


def test_the_tree_is_that_of_the_linen_models(model):
    params = model.params
    assert set(params) == {"logit_scale", "text_model", "vision_model", "text_projection", "visual_projection"}
    assert set(params["vision_model"]) == {"embeddings", "encoder", "pre_layrnorm", "post_layernorm"}
    assert set(params["text_model"]["encoder"]["layers"]) == {"0", "1"}
    layer = params["text_model"]["encoder"]["layers"]["1"]
    assert layer["mlp"]["fc1"]["kernel"].shape == (24, 52)
    assert layer["layer_norm1"]["scale"].shape == (24,)
    assert params["text_model"]["embeddings"]["token_embedding"]["embedding"].shape == (61, 24)
    assert params["vision_model"]["embeddings"]["patch_embedding"]["kernel"].shape == (7, 7, 3, 20)
    assert params["vision_model"]["embeddings"]["class_embedding"].shape == (20,)
    assert params["text_projection"]["kernel"].shape == (24, 18)


def test_params_are_used_and_the_model_is_unchanged(model, other, inputs, assert_same):
    before = model(**inputs)
    expected = other(**inputs)
    assert_same(model(**inputs, params=other.params), expected, atol=0)
    assert_same(model(**inputs, params=freeze(other.params)), expected, atol=0)
    assert_same(model(**inputs, params=jax.tree.map(np.asarray, other.params)), expected, atol=0)
    assert_same(jax.jit(lambda params: model(**inputs, params=params))(other.params), expected)
    assert_same(model(**inputs), before, atol=0)


def test_features_and_towers_take_params(model, other, inputs, assert_same):
    ids, pixels = inputs["input_ids"], inputs["pixel_values"]
    text = other.get_text_features(ids)
    assert_same(model.get_text_features(ids, params=other.params), text, atol=0)
    assert_same(model.get_image_features(pixels, params=other.params), other.get_image_features(pixels), atol=0)
    tower = FlaxCLIPTextModelWithProjection(DISTINCT.text_config)  # takes its part of the full tree; cuts no padding
    pooled = other(ids, pixels).text_model_output.pooler_output
    assert_same(tower(ids, params=other.params).text_embeds, other.text_projection(pooled), atol=0)


def test_gradients_have_the_tree_of_the_params_and_follow_the_loss(model, inputs):
    @jax.jit
    def loss(params):
        return model(**inputs, params=params, return_loss=True).loss

    gradients = jax.jit(jax.grad(loss))(model.params)
    assert jax.tree.structure(gradients) == jax.tree.structure(model.params)
    length = 1e-3 / jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(gradients)))
    there, back = (jax.tree.map(lambda p, g, s=sign: p + s * length * g, model.params, gradients) for sign in (1, -1))
    slope = jax.jvp(loss, (model.params,), (gradients,))[1] * 2 * length
    np.testing.assert_allclose(loss(there) - loss(back), slope, rtol=2e-2)


def test_vmap_over_params(model, other, inputs, assert_same):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), model.params, other.params)
    logits = jax.vmap(lambda params: model(**inputs, params=params).logits_per_text)(stacked)
    assert_same(logits[1], other(**inputs).logits_per_text, atol=1e-4)


def test_params_that_do_not_fit_are_listed_at_once(model, inputs):
    params = model.params
    del params["logit_scale"]
    params["text_projection"]["kernel"] = params["text_projection"]["kernel"].T
    params["head"] = {"kernel": np.zeros((2, 5))}
    with pytest.raises(WeightMismatchError) as error:
        jax.jit(lambda params: model(**inputs, params=params))(params)
    for line in (
        "- logit_scale []: missing",
        "- text_projection.kernel [24, 18]",
        "+ text_projection.kernel [18, 24]",
        "+ head.kernel [2, 5]: unexpected",
    ):
        assert line in str(error.value)
    with pytest.raises(InputTypeError, match="params: expected a tree of dicts like model.params, got list"):
        model(**inputs, params=jax.tree.leaves(params))


def test_params_can_be_saved_instead_of_the_models_own(tmp_path, model, other, assert_same):
    model.save_pretrained(tmp_path, other.to_bf16(other.params))
    loaded = FlaxCLIPModel.from_pretrained(tmp_path, dtype="auto")
    assert loaded.dtype == jnp.bfloat16
    assert_same(loaded.to_fp32(loaded.params), other.to_fp32(other.to_bf16(other.params)), atol=0)


def test_casts_follow_the_mask(model):
    mask = jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", model.params)
    cast = model.to_fp16(model.params, mask)
    assert cast["text_projection"]["kernel"].dtype == jnp.float16
    assert cast["logit_scale"].dtype == jnp.float32


def test_the_computation_keeps_the_models_dtype_whatever_the_params(model, inputs):
    output = model(**inputs, params=model.to_bf16(model.params))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(output))
