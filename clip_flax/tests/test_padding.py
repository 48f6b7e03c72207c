"""Where texts are cut to what the pooled output needs, and where they stay whole; that it is equal is the ladder's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from clip_core.tests.sizes import DISTINCT
from clip_flax.layers import Attention
from clip_flax.text import TextTransformer, without_padding

END = DISTINCT.text_config.eos_token_id


def texts():
    """Two of four tokens, padded to eleven."""
    ids = np.arange(22).reshape(2, 11)
    ids[:, 3:] = END
    return ids, np.tile(np.arange(11) < 4, (2, 1)).astype(int)


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
def test_cut_to_few_lengths_without_a_mask_that_hides_only_padding(model, array):
    ids, mask = map(array, texts())
    positions = array(np.arange(11)[None])
    cut_ids, no_mask, cut_positions = without_padding(model.text_model, ids, mask, positions)
    np.testing.assert_array_equal(cut_ids, ids[:, :8])
    assert no_mask is None
    np.testing.assert_array_equal(cut_positions, positions[:, :8])
    hiding = array(np.where(np.arange(11) == 2, 0, mask))
    np.testing.assert_array_equal(without_padding(model.text_model, ids, hiding, None)[1], hiding[:, :8])


class OtherTower(TextTransformer):
    """With a pooling of its own."""


def test_whole_where_somebody_could_tell(model):
    given = (*texts(), None)
    assert without_padding(model.text_model, *given, dropout_rng=jax.random.key(0)) == given
    tower = nnx.clone(model.text_model)
    tower.__class__ = OtherTower
    assert without_padding(tower, *given) == given


class OtherAttention(Attention):
    """That sees all tokens."""


def other_attention(tower):
    tower.encoder.layers[1].self_attn.__class__ = OtherAttention


def other_mask(tower):
    tower.causal_mask = lambda length, mask: jnp.ones((1, 1, length, length), bool)


@pytest.mark.parametrize("change", [other_attention, other_mask])
def test_whole_where_others_decide_what_a_token_depends_on(model, change):
    given, tower = (*texts(), None), nnx.clone(model.text_model)
    change(tower)
    assert without_padding(tower, *given) == given


def test_whole_in_a_graph(model):
    ids, mask = texts()
    expected = model.get_text_features(ids, mask)
    for compiled in (
        nnx.jit(lambda model, ids: model.get_text_features(ids))(model, ids),
        jax.jit(lambda ids: jax.vmap(lambda one: model.get_text_features(one[None])[0])(ids))(ids),
    ):
        np.testing.assert_allclose(compiled, expected, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_padded_texts(model):
    ids, mask = texts()

    def cut(model):
        return jnp.square(model.get_text_features(ids, mask)).sum()

    def whole(model):
        return jnp.square(model.text_projection(model.text_model(ids, mask).pooler_output)).sum()

    gradients = [jax.tree.leaves(nnx.grad(loss)(model)) for loss in (cut, whole)]
    largest = max(np.abs(leaf).max() for leaf in gradients[1])
    for got, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * largest)
