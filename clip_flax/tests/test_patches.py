"""Patches as a product: the convolution's numbers, and the convolution itself where they do not lie side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx


@pytest.fixture
def embeddings(model):
    return nnx.clone(model.vision_model.embeddings)


def given(layer, height, width):
    generator = np.random.default_rng(height)
    layer.kernel[...] = jnp.asarray(generator.standard_normal(layer.kernel.shape, np.float32))
    return jnp.asarray(generator.standard_normal((2, height, width, 3), np.float32))


def operations(function, *inputs):
    return {equation.primitive.name for equation in jax.make_jaxpr(function)(*inputs).eqns}


@pytest.mark.parametrize(("height", "width"), [(28, 21), (34, 22)], ids=["whole", "left over"])
def test_the_numbers_are_the_convolutions(embeddings, height, width):
    layer = embeddings.patch_embedding
    assert type(layer) is nnx.Conv
    pixels = given(layer, height, width)
    assert "dot_general" in operations(layer, pixels)
    assert "conv_general_dilated" not in operations(layer, pixels)
    found = layer(pixels)
    layer.conv_general_dilated = jax.lax.conv_general_dilated
    np.testing.assert_allclose(found, layer(pixels), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(("name", "value"), [("strides", (3, 5)), ("padding", "SAME"), ("kernel_dilation", 2)])
def test_a_layer_that_somebody_changed_convolves(embeddings, name, value):
    layer = embeddings.patch_embedding
    pixels = given(layer, 35, 42)
    setattr(layer, name, value)
    found = layer(pixels)
    layer.conv_general_dilated = jax.lax.conv_general_dilated
    np.testing.assert_array_equal(found, layer(pixels))
