"""Code that was written for the Flax classes of transformers 4 runs: a model without weights, their tree, modules."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from flax.jax_utils import replicate
from flax.traverse_util import flatten_dict

from clip_core import CLIPProcessor
from clip_core.errors import InputError, InputTypeError, WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_flax import (
    FlaxCLIPModel,
    FlaxCLIPModule,
    FlaxCLIPPreTrainedModel,
    FlaxCLIPTextModel,
    FlaxCLIPTextModelWithProjectionModule,
    FlaxCLIPTextPreTrainedModel,
    FlaxCLIPVisionModule,
    FlaxCLIPVisionPreTrainedModel,
)


@pytest.fixture(scope="module")
def bare():
    return FlaxCLIPModel(DISTINCT, input_shape=((1, 11), (1, 30, 30, 3)), _do_init=False)


def test_cells_that_score_pictures_on_all_devices():
    """The pattern of generators of pictures that let CLIP rank them."""
    model, params = FlaxCLIPModel.from_pretrained("triclip-emoji", from_pt=True, _do_init=False)
    processor = CLIPProcessor.from_pretrained("triclip-emoji")
    params = replicate(params)

    @partial(jax.pmap, axis_name="batch")
    def p_clip(inputs, params):
        return model(params=params, **inputs).logits_per_image

    pictures = [np.full((8, 8, 3), shade, np.uint8) for shade in (0, 255)]
    inputs = processor(
        text=["a cat"] * 2, images=pictures, return_tensors="np", padding="max_length", max_length=32, truncation=True
    ).data
    logits = p_clip(replicate(inputs), params)
    expected = FlaxCLIPModel.from_pretrained("triclip-emoji")(**inputs).logits_per_image
    np.testing.assert_allclose(logits[0], expected, atol=1e-4)


def test_a_model_without_weights_takes_them_from_the_caller(bare, model, inputs, tmp_path, assert_same):
    expected = model(**inputs)
    assert_same(bare(**inputs, params=model.params), expected, atol=0)
    assert_same(jax.jit(lambda params: bare(**inputs, params=params))(model.params), expected)
    bare.save_pretrained(tmp_path, params=model.params)
    loaded, params = FlaxCLIPModel.from_pretrained(tmp_path, _do_init=False, dtype="bfloat16")
    assert_same(params, FlaxCLIPModel.from_pretrained(tmp_path, dtype="bfloat16").params, atol=0)
    assert not [leaf for leaf in jax.tree.leaves(nnx.state(loaded)) if isinstance(leaf, jax.Array)]


def test_without_weights_every_use_says_what_to_do(bare, inputs, tmp_path):
    for use in (
        lambda: bare(**inputs),
        lambda: bare.get_text_features(inputs["input_ids"]),
        lambda: bare.params,
        lambda: bare.save_pretrained(tmp_path),
        lambda: jax.jit(lambda: bare(**inputs))(),
    ):
        with pytest.raises(InputError, match=r"expected params=, since the model was made with _do_init=False"):
            use()


def test_init_weights_draws_from_the_key_and_keeps_what_is_given(bare, model, assert_same):
    one, again, two = (bare.init_weights(jax.random.key(key), ((1, 11), (1, 30, 30, 3))) for key in (1, 1, 2))
    assert_same(one, again, atol=0)
    assert_same(jax.tree.map(jnp.shape, one), jax.tree.map(jnp.shape, model.params), atol=0)
    assert not np.array_equal(one["text_projection"]["kernel"], two["text_projection"]["kernel"])
    projection = {"text_projection": model.params["text_projection"]}
    assert_same(bare.init_weights(jax.random.PRNGKey(1), None, projection), one | projection, atol=0)
    with pytest.raises(WeightMismatchError, match=r"\+ head.kernel \[2\]: unexpected"):
        bare.init_weights(jax.random.key(1), params={"head": {"kernel": np.zeros(2)}})


def test_params_can_be_set(model, inputs, assert_same):
    other = FlaxCLIPModel(DISTINCT, seed=4)
    expected = other(**inputs)
    for tree in (model.params, other.params):
        other.params = tree
    assert_same(other(**inputs), expected, atol=0)
    other.params = model.params
    assert_same(other(**inputs), model(**inputs), atol=0)
    with pytest.raises(WeightMismatchError, match="logit_scale.*missing"):
        other.params = {"text_model": model.params["text_model"]}
    assert_same(other.params, model.params, atol=0)


def test_states_of_nnx_are_trees_too(model, bare, inputs, assert_same):
    expected = model(**inputs)
    state = nnx.state(model)
    assert_same(bare(**inputs, params=state), expected, atol=0)
    assert_same(bare(**inputs, params=nnx.to_pure_dict(state)), expected, atol=0)
    assert_same(jax.jit(lambda state: bare(**inputs, params=state))(nnx.split(model)[1]), expected)


def test_other_trees_are_told_what_to_do(model, inputs):
    for tree, message in (
        ({"params": model.params}, "got one under 'params'. Pass that"),
        (flatten_dict(model.params), "as a key. Pass the tree before it was flattened"),
        (model, "got FlaxCLIPModel. Pass the result of nnx.state"),
        ({"logit_scale": "2.6"}, "expected an array at 'logit_scale', got str"),
        ([model.params], "got list"),
    ):
        with pytest.raises(InputTypeError, match=message):
            model(**inputs, params=tree)


def test_a_linen_module_has_the_tree_of_the_model(model, inputs, assert_same):
    module = FlaxCLIPModule(DISTINCT)
    assert_same(module.apply({"params": model.params}, **inputs), model(**inputs), atol=0)
    made = jax.eval_shape(module.init, jax.random.key(0), **inputs)["params"]
    assert jax.tree.map(jnp.shape, made) == jax.tree.map(jnp.shape, model.params)
    features = FlaxCLIPTextModelWithProjectionModule(DISTINCT.text_config).apply
    params = {part: model.params[part] for part in ("text_model", "text_projection")}
    embeds = features({"params": params}, inputs["input_ids"], inputs["attention_mask"]).text_embeds
    pooled = model(**inputs).text_model_output.pooler_output  # padding and all, as the module computes
    assert_same(embeds, model.text_projection(pooled), atol=0)


def test_a_module_is_part_of_another_and_draws_its_weights(inputs):
    class Head(linen.Module):
        @linen.compact
        def __call__(self, pixels):
            pooled = FlaxCLIPVisionModule(DISTINCT.vision_config, name="clip")(pixels).pooler_output
            return linen.Dense(5)(pooled)

    pixels = inputs["pixel_values"]
    variables = Head().init(jax.random.key(0), pixels)
    assert set(variables["params"]["clip"]) == {"vision_model"}
    assert Head().apply(variables, pixels).shape == (3, 5)


def test_classes_have_the_bases_of_transformers():
    assert issubclass(FlaxCLIPTextModel, FlaxCLIPTextPreTrainedModel)
    assert issubclass(FlaxCLIPTextPreTrainedModel, FlaxCLIPPreTrainedModel)
    assert not issubclass(FlaxCLIPTextModel, FlaxCLIPVisionPreTrainedModel)
