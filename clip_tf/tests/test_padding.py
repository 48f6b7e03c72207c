"""Where texts are cut to what the pooled output needs, and where they stay whole; that it is equal is the ladder's."""

from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from clip_core.tests.sizes import DISTINCT
from clip_tf import TFCLIPModel
from clip_tf.layers import Attention
from clip_tf.text import TextTransformer, without_padding

END = DISTINCT.text_config.eos_token_id


@pytest.fixture(scope="module")
def model():
    return TFCLIPModel(replace(DISTINCT, text_config=replace(DISTINCT.text_config, num_hidden_layers=1)), seed=3)


def texts():
    """Two of four tokens, padded to eleven."""
    ids = np.arange(22, dtype=np.int32).reshape(2, 11)
    ids[:, 3:] = END
    return ids, np.tile(np.arange(11) < 4, (2, 1)).astype(np.int32)


@pytest.mark.parametrize("array", [np.asarray, tf.constant])
def test_cut_to_the_last_end_without_a_mask_that_hides_only_padding(model, array):
    ids, mask = map(array, texts())
    positions = array(np.arange(11, dtype=np.int32)[None])
    cut_ids, no_mask, cut_positions = without_padding(model.text_model, ids, mask, positions)
    np.testing.assert_array_equal(cut_ids, ids[:, :4])
    assert no_mask is None
    np.testing.assert_array_equal(cut_positions, positions[:, :4])
    hiding = array(np.where(np.arange(11) == 2, 0, mask).astype(np.int32))
    np.testing.assert_array_equal(without_padding(model.text_model, ids, hiding, None)[1], hiding[:, :4])


class OtherTower(TextTransformer):
    """With a pooling of its own."""


def test_whole_where_somebody_could_tell(model):
    given = (*texts(), None)
    dropping = replace(DISTINCT.text_config, attention_dropout=0.5)
    assert without_padding(TextTransformer(dropping, name="text"), *given, training=True) == given
    assert without_padding(OtherTower(DISTINCT.text_config, name="text"), *given) == given


class OtherAttention(Attention):
    """That sees all tokens."""


def other_attention(tower):
    tower.encoder.layers[0].self_attn.__class__ = OtherAttention


def other_call(tower):
    tower.encoder.layers[0].call = tower.encoder.layers[0].call


def other_mask(tower):
    tower.causal_mask = lambda length, mask: np.ones((1, 1, length, length), bool)


@pytest.mark.parametrize("change", [other_attention, other_call, other_mask])
def test_whole_where_others_decide_what_a_token_depends_on(change):
    given, tower = (*texts(), None), TextTransformer(DISTINCT.text_config, name="text")
    change(tower)
    assert without_padding(tower, *given) == given


def test_whole_in_graphs(model):
    ids, mask = texts()
    expected = model.get_text_features(ids, mask)
    compiled = tf.function(model.get_text_features, jit_compile=True)
    np.testing.assert_allclose(compiled(tf.constant(ids), tf.constant(mask)), expected, atol=1e-5, rtol=1e-5)
    inputs = keras.Input((11,), dtype="int32")
    functional = keras.Model(inputs, model.get_text_features(inputs))
    np.testing.assert_allclose(functional(ids), expected, atol=1e-5, rtol=1e-5)


def test_gradients_are_those_of_the_padded_texts(model):
    ids, mask = map(tf.constant, texts())
    gradients = []
    for features in (
        lambda: model.get_text_features(ids, mask, training=True),
        lambda: model.text_projection(model.text_model(ids, mask, training=True).pooler_output),
    ):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(features()))
        gradients.append(tape.gradient(loss, model.text_model.trainable_variables))
    got, expected = ([np.asarray(tf.convert_to_tensor(each)) for each in found] for found in gradients)
    largest = max(np.abs(each).max() for each in expected)
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * largest)
