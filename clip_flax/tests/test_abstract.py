"""Models made inside JAX's transforms: abstract, or by a compiled program."""

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import clip_core.initialization
import clip_flax.weights
from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPModel


@pytest.fixture
def drawn(monkeypatch):
    """The names of the weights that are drawn."""
    names, original = [], clip_core.initialization.draw_weight

    def draw(spec, config, seed):
        names.append(spec.name)
        return original(spec, config, seed)

    for module in (clip_flax.weights, clip_core.initialization):
        monkeypatch.setattr(module, "draw_weight", draw)
    return names


def test_an_abstract_model_draws_no_weights(model, drawn):
    abstract = nnx.eval_shape(lambda: FlaxCLIPModel(DISTINCT, dtype="bfloat16"))
    assert not drawn
    got, expected = jax.tree.leaves_with_path(nnx.state(abstract)), jax.tree.leaves_with_path(nnx.state(model))
    assert [(path, leaf.shape) for path, leaf in got] == [(path, leaf.shape) for path, leaf in expected]
    assert {leaf.dtype.name for _, leaf in got} == {"bfloat16"}


def test_a_compiled_program_draws_the_same_weights_where_they_are_to_lie(model, assert_same):
    sharding = NamedSharding(Mesh(np.array(jax.devices()[:1]), ("data",)), P())
    make = jax.jit(lambda: nnx.state(FlaxCLIPModel(DISTINCT, seed=3)), out_shardings=sharding)
    made = make()
    assert_same(made, nnx.state(model), atol=0)
    assert {leaf.sharding for leaf in jax.tree.leaves(made)} == {sharding}
    assert_same(nnx.jit(lambda: FlaxCLIPModel(DISTINCT, seed=3))().params, model.params, atol=0)


def test_a_compiled_program_does_not_hold_the_weights(drawn):
    program = jax.jit(lambda: nnx.state(FlaxCLIPModel(DISTINCT))).lower()
    assert not drawn
    assert 'dense<"' not in program.as_text()  # no table of numbers
