"""The image classifier: a linear layer on the mean of the patch tokens, its three losses and their gradients."""

import numpy as np
import pytest

from clip_core.initialization import draw_weight
from clip_core.weights import weight_specs
from conformance_tests.cases import labelled, pixel_inputs
from conformance_tests.comparison import equal
from conformance_tests.ladder.test_gradients import SMALLEST_SCALE
from conformance_tests.oracle_classifier import ClassifierOracle

LABELS = {  # problem, number of labels -> those of three images
    ("single_label_classification", 6): np.array([4, -100, 0]),
    ("multi_label_classification", 6): np.array([[0, 1, 0.5, 1, 0, 0]] * 2 + [[1, 1, 0, 0, 0, 0.25]], np.float32),
    ("regression", 6): np.arange(18, dtype=np.float32).reshape(3, 6) / 7,
    ("regression", 1): np.array([0.5, -2, 3], np.float32),
}


@pytest.fixture(scope="module")
def classifier(backend):
    """A classifier with so many labels, its configuration and weights."""
    if getattr(backend, "WITHOUT_CLASSIFIER", False):
        pytest.skip("the backend says that it has no image classifier")

    def build(case, labels):
        config, weights = labelled(case, labels)
        return backend.build("classification", config, weights), config, weights

    return build


def test_logits(backend, case, classifier, compare):
    model, config, weights = classifier(case, 6)
    pixels = pixel_inputs(config.vision_config, 2)
    got = backend.to_array(backend.call(model, "", pixels).logits)
    expected = ClassifierOracle(config, weights).logits(pixels)
    compare.close("classification", case.name, {"logits": got}, {"logits": expected})


@pytest.mark.parametrize(("problem", "labels"), LABELS)
def test_loss(backend, base, classifier, compare, problem, labels):
    """The configuration says no problem but for the regression of several numbers: the labels do."""
    model, config, weights = classifier(base, labels)
    if (problem, labels) == ("regression", 6):
        config = config.changed({"problem_type": problem})
        model = backend.build("classification", config, weights)
    pixels, given = pixel_inputs(config.vision_config, 3), LABELS[problem, labels]
    expected, gradients = ClassifierOracle(config, weights).loss_and_gradients(pixels, given, problem)
    got = backend.to_array(backend.call(model, "", pixels, labels=given).loss)
    compare.close("loss", problem, {"loss": got}, {"loss": np.array(expected)})
    parameters = [spec.name for spec in weight_specs(config, classifier=True) if spec.is_parameter]
    idle = {name: np.zeros_like(weights[name]) for name in parameters if name not in gradients}
    assert {name.split(".")[1] for name in idle} == {"attnpool" if config.vision_config.is_resnet else "post_layernorm"}
    floor = SMALLEST_SCALE * max(np.abs(value).max() for value in gradients.values())
    found = backend.gradients(model, {"pixel_values": pixels, "labels": given})
    compare.close("gradients", problem, found, {**gradients, **idle}, floor=floor)


def test_images_that_are_all_left_out_have_no_loss(backend, base, classifier):
    model, config, _ = classifier(base, 6)
    output = backend.call(model, "", pixel_inputs(config.vision_config, 2), labels=np.array([-100, -100]))
    assert np.isnan(backend.to_array(output.loss))


def test_no_labels_give_the_mean_of_the_patches(backend, base, classifier, compare):
    model, config, weights = classifier(base, 0)
    pixels = pixel_inputs(config.vision_config, 2)
    got = backend.to_array(backend.call(model, "", pixels).logits)
    expected = ClassifierOracle(config, weights).logits(pixels)
    compare.close("classification", "no labels", {"logits": got}, {"logits": expected})
    with pytest.raises(ValueError, match="num_labels is 0"):
        backend.call(model, "", pixels, labels=np.array([0, 0]))


def test_labels_that_there_are_not_are_refused(backend, base, classifier):
    model, config, _ = classifier(base, 6)
    pixels = pixel_inputs(config.vision_config, 2)
    if not getattr(backend, "ON_DEVICE", False):
        with pytest.raises(ValueError, match="expected 0 to 5, or -100 for none, got 6"):
            backend.call(model, "", pixels, labels=np.array([0, 6]))
    with pytest.raises(ValueError, match=r"expected shape \[2\] for single_label_classification, got \[3\]"):
        backend.call(model, "", pixels, labels=np.array([0, 1, 2]))


@pytest.mark.usefixtures("classifier")
def test_seed_gives_the_initial_weights_of_the_core(backend, base):
    config, _ = labelled(base, 6)
    drawn = {spec.name: draw_weight(spec, config, 3) for spec in weight_specs(config, classifier=True)}
    equal("drawn", backend.weights(backend.build("classification", config, None, seed=3)), drawn)


def test_saved_and_loaded(backend, base, classifier, tmp_path):
    model, config, weights = classifier(base, 6)
    backend.save(model, tmp_path)
    loaded = backend.load("classification", tmp_path)
    equal("loaded", backend.weights(loaded), weights)
    assert loaded.config == config
    tower = {name: value for name, value in weights.items() if name.startswith("vision_model.")}
    equal("its vision tower", backend.weights(backend.load("vision", tmp_path)), tower)


@pytest.mark.usefixtures("classifier")
def test_a_model_without_a_classifier_gets_none_unasked(backend, base, model_of, tmp_path):
    backend.save(model_of(base), tmp_path)
    with pytest.raises(ValueError, match=r"(?s)classifier.weight \[2, .*num_labels=10"):
        backend.load("classification", tmp_path)


def test_compiled(backend, base, classifier, compare):
    model, config, weights = classifier(base, 6)
    pixels = pixel_inputs(config.vision_config, 2)
    got = backend.to_array(backend.compiled(model, {"pixel_values": pixels}).logits)
    expected = ClassifierOracle(config, weights).logits(pixels)
    compare.close("compiled", "classifier", {"logits": got}, {"logits": expected})
