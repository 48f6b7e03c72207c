"""The image classifier in Flax: the functional form, compiled losses, training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPForImageClassification, FlaxCLIPModel, classification_loss

CONFIG = DISTINCT.changed({"id2label": {0: "crane", 1: "maillot", 2: "crane"}})
PIXELS = np.random.default_rng(0).standard_normal((4, 3, 30, 30)).astype(np.float32)
LABELS = np.array([2, 0, 1, 1])


def test_the_functional_form_trains_and_so_does_nnx():
    model = FlaxCLIPForImageClassification(CONFIG, seed=3)
    params = model.params
    assert set(params) == {"vision_model", "classifier"}

    @jax.jit
    def step(params):
        loss, gradients = jax.value_and_grad(lambda p: model(PIXELS, LABELS, params=p, train=True).loss)(params)
        return loss, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients)

    @nnx.jit
    def nnx_step(trained, optimizer):
        loss, gradients = nnx.value_and_grad(lambda m: m(PIXELS, LABELS).loss)(trained)
        optimizer.update(trained, gradients)
        return loss

    trained = nnx.clone(model)
    optimizer = nnx.Optimizer(trained, optax.sgd(0.1), wrt=nnx.Param)
    losses = []
    for _ in range(3):
        loss, params = step(params)
        losses.append(float(loss))
        np.testing.assert_allclose(nnx_step(trained, optimizer), loss, rtol=1e-5)
    assert losses == sorted(losses, reverse=True)
    for got, wanted in zip(jax.tree.leaves(trained.params), jax.tree.leaves(params), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_in_compiled_code_a_label_that_there_is_not_gives_nan():
    loss = jax.jit(lambda labels: classification_loss(jnp.zeros((2, 3)), labels, CONFIG))
    for dtype in (np.int32, np.int8):
        np.testing.assert_allclose(loss(np.array([1, -100], dtype)), np.log(3), rtol=1e-6)
        for odd in (3, -1):
            assert jnp.isnan(loss(np.array([1, odd], dtype)))


def test_exported_and_reloaded(tmp_path):
    model = FlaxCLIPForImageClassification(CONFIG, seed=3)
    program = jax.export.export(jax.jit(lambda pixels: model(pixels)))(PIXELS)
    output = jax.export.deserialize(program.serialize()).call(PIXELS)
    assert output.keys() == ("logits",)
    np.testing.assert_allclose(output.logits, model(PIXELS).logits, rtol=1e-5, atol=1e-6)
    model.save_pretrained(tmp_path)
    same = FlaxCLIPForImageClassification.from_pretrained(tmp_path)
    np.testing.assert_array_equal(same(PIXELS).logits, model(PIXELS).logits)


def test_a_classifier_is_new_only_where_its_labels_are_said(tmp_path):
    FlaxCLIPModel(DISTINCT, seed=3).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="A CLIP without a classifier gets a new one"):
        FlaxCLIPForImageClassification.from_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="classifier.weight, classifier.bias are new"):
        model, params = FlaxCLIPForImageClassification.from_pretrained(tmp_path, num_labels=5, _do_init=False)
    assert model(PIXELS, params=params).logits.shape == (4, 5)


def test_outputs_of_one_field_are_pytrees():
    output = FlaxCLIPForImageClassification(CONFIG, seed=3)(PIXELS)
    assert jax.tree.map(lambda x: x.shape, output).logits == (4, 3)
    assert jax.vmap(lambda x: x)(output).keys() == ("logits",)
