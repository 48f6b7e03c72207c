"""Precision of products of matrices, and float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from clip_core.errors import InputTypeError
from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPModel, FlaxCLIPVisionModel
from clip_flax.tests.sharded_forward import CONFIG


def products(jaxpr):
    """Every product of matrices and convolution of a program, and of the programs inside it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            yield equation
        for inner in jax.core.jaxprs_in_params(equation.params):
            yield from products(inner)


def precisions(function, *arguments):
    """How many products have which precision, of both factors."""
    counts = {}
    for equation in products(jax.make_jaxpr(function)(*arguments).jaxpr):
        precision = equation.params["precision"]
        counts[precision] = counts.get(precision, 0) + 1
    return counts


def pair(name):
    return (jax.lax.Precision(name),) * 2


FORWARD = 3 * 8 + 1 + 1 + 2 + 1  # blocks, patches, positions, projections, logits


def loss(model, inputs, params):
    return model(**inputs, params=params, return_loss=True, interpolate_pos_encoding=True).loss


@pytest.fixture(scope="module")
def other_size(inputs):
    return inputs | {"pixel_values": inputs["pixel_values"][..., :22]}  # so that positions are resampled


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_product_is_in_float32_unless_told_otherwise(other_size, dtype):
    model = FlaxCLIPModel(CONFIG, dtype=dtype)
    assert precisions(lambda params: loss(model, other_size, params), model.params) == {pair("highest"): FORWARD}
    model.gradient_checkpointing_enable()
    gradients = precisions(jax.grad(lambda params: loss(model, other_size, params)), model.params)
    assert set(gradients) == {pair("highest")}
    assert gradients[pair("highest")] > 2 * FORWARD


@pytest.mark.parametrize("precision", ["default", "high", jax.lax.Precision.HIGH])
def test_another_precision_reaches_every_product(tmp_path, other_size, precision):
    model = FlaxCLIPModel(CONFIG, precision=precision)
    assert precisions(lambda params: loss(model, other_size, params), model.params) == {pair(precision): FORWARD}
    model.save_pretrained(tmp_path)
    loaded = FlaxCLIPModel.from_pretrained(tmp_path, precision=precision)
    assert precisions(lambda params: loss(loaded, other_size, params), model.params) == {pair(precision): FORWARD}


def test_without_one_it_is_jaxs_default(other_size):
    model = FlaxCLIPModel(CONFIG, precision=None)
    assert precisions(lambda params: loss(model, other_size, params), model.params) == {None: FORWARD}
    with jax.default_matmul_precision("high"):
        assert precisions(lambda params: loss(model, other_size, params), model.params) == {pair("high"): FORWARD}


def test_other_precisions_are_refused(tmp_path):
    message = "precision: expected 'highest', 'high', 'default', a jax.lax.Precision or None, got 'exact'"
    with pytest.raises(InputTypeError, match=message):
        FlaxCLIPModel(CONFIG, precision="exact")
    FlaxCLIPVisionModel(CONFIG.vision_config).save_pretrained(tmp_path)
    with pytest.raises(InputTypeError, match=message):
        FlaxCLIPVisionModel.from_pretrained(tmp_path, precision="exact")


def test_float64_is_float64_throughout(other_size):
    with jax.enable_x64(True):
        model = FlaxCLIPModel(DISTINCT, dtype="float64")
        inputs = other_size | {"pixel_values": other_size["pixel_values"].astype(np.float64)}
        output = model(**inputs, return_loss=True, interpolate_pos_encoding=True, output_attentions=True)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(output)} == {"float64"}
        program = jax.make_jaxpr(lambda params: loss(model, inputs, params))(model.params)
        assert {str(product.outvars[0].aval.dtype) for product in products(program.jaxpr)} == {"float64"}
        assert "f32" not in str(program)


def test_float64_gradients_are_those_of_finite_differences(inputs):
    with jax.enable_x64(True):
        model = FlaxCLIPModel(CONFIG, dtype="float64")
        inputs = jax.tree.map(jnp.asarray, inputs)
        check_grads(jax.jit(lambda params: loss(model, inputs, params)), (model.params,), 1, rtol=1e-6, eps=1e-6)
