"""What a gradient takes, and that it can be differentiated, mapped and exported like any other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from clip_core.config import CLIPVisionConfig
from clip_flax import FlaxCLIPVisionModel


def tower(layers):
    config = CLIPVisionConfig(
        num_hidden_layers=layers,
        hidden_size=8,
        intermediate_size=16,
        num_attention_heads=2,
        image_size=4,
        patch_size=2,
        hidden_act="gelu",
    )
    model = FlaxCLIPVisionModel(config)
    pixels = np.random.default_rng(0).standard_normal((2, 3, 4, 4), np.float32)
    return lambda params, pixels=pixels: model(pixels, params=params).pooler_output[0, :3].sum(), model.params


@pytest.fixture
def optimizations():
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)  # as in conftest.py


def test_every_layer_adds_the_same_work(optimizations):
    work = []
    for layers in (1, 2, 3):
        loss, params = tower(layers)
        work.append(jax.jit(jax.grad(loss)).lower(params).compile().cost_analysis()["flops"])
    assert work[2] - work[1] == work[1] - work[0]  # else sums of residuals are computed in each LayerNorm anew


def test_gradients_are_differentiated_mapped_and_exported(assert_same):
    loss, params = tower(1)
    exported = export.deserialize(export.export(jax.jit(loss))(params).serialize(vjp_order=1))

    @jax.jit
    def results(params):
        gradient = jax.grad(loss)
        ahead = jax.jvp(gradient, (params,), (params,))[1]
        behind = jax.grad(lambda at: sum(map(jnp.vdot, *map(jax.tree.leaves, (gradient(at), params)))))(params)
        mapped = jax.vmap(gradient)(jax.tree.map(lambda leaf: leaf[None], params))
        return gradient(params), jax.grad(exported.call)(params), jax.tree.map(lambda x: x[0], mapped), ahead, behind

    plain, of_export, mapped, ahead, behind = results(params)
    assert_same(of_export, plain)
    assert_same(mapped, plain)
    assert_same(ahead, behind)
