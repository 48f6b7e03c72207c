"""The image classifier in Keras: what `fit` minimises, compiled losses and metrics, files."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from clip_core.errors import InputError, InputTypeError
from clip_core.outputs import ImageClassifierOutput
from clip_core.tests.sizes import DISTINCT
from clip_tf import TFCLIPForImageClassification
from clip_tf.classification import classification_loss

CONFIG = DISTINCT.changed({"id2label": {0: "crane", 1: "maillot", 2: "crane"}})
PIXELS = np.random.default_rng(0).standard_normal((4, 3, 30, 30)).astype(np.float32)
LABELS = np.array([2, 0, 1, 1])
CROSS_ENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def classifier(**options):
    model = TFCLIPForImageClassification(CONFIG, seed=3)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False, **options)
    return model


@pytest.mark.parametrize("options", [{}, {"loss": CROSS_ENTROPY}, {"loss": {"logits": CROSS_ENTROPY}}], ids=str)
def test_fit_follows_its_own_loss_as_a_compiled_one(options):
    model = classifier(metrics=["accuracy"], **options)
    logits = model(PIXELS).logits
    before = float(keras.ops.mean(CROSS_ENTROPY(LABELS, logits)))
    history = model.fit(PIXELS, LABELS, batch_size=4, epochs=2, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], before, rtol=1e-5)
    assert history["loss"][1] < history["loss"][0]
    accuracy = np.mean(np.argmax(logits, -1) == LABELS)
    np.testing.assert_allclose(next(values[0] for name, values in history.items() if "acc" in name), accuracy)
    by_hand = classifier()
    with tf.GradientTape() as tape:
        loss = by_hand(PIXELS, labels=tf.constant(LABELS)).loss
    variables = [variable.value for variable in by_hand.trainable_variables]
    gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    by_hand.optimizer.apply(gradients, by_hand.trainable_variables)
    np.testing.assert_allclose(history["loss"][1], float(by_hand(PIXELS, labels=tf.constant(LABELS)).loss), rtol=1e-5)


def test_labels_may_be_in_the_batch_and_in_a_data_set():
    model = classifier()
    expected = model.evaluate(PIXELS, LABELS, batch_size=4, verbose=0)
    np.testing.assert_allclose(model.evaluate({"pixel_values": PIXELS, "labels": LABELS}, verbose=0), expected)
    batches = tf.data.Dataset.from_tensors((PIXELS, LABELS))
    np.testing.assert_allclose(model.evaluate(batches, verbose=0), expected)


def test_predict_gives_the_logits_of_all_batches():
    output = classifier().predict(PIXELS, batch_size=3, verbose=0)
    assert isinstance(output, ImageClassifierOutput)
    assert output.keys() == ("logits",)
    np.testing.assert_allclose(output.logits, classifier()(PIXELS).logits, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        keras.losses.binary_crossentropy,
        keras.losses.CategoricalCrossentropy(),
        {"logits": keras.losses.SparseCategoricalCrossentropy()},
    ],
    ids=str,
)
def test_a_loss_that_takes_logits_for_probabilities_is_refused(loss):
    with pytest.raises(InputError, match="loss: expected one that takes logits for logits, got .*from_logits=True"):
        classifier(loss=loss)


def test_other_losses_are_taken():
    assert classifier(loss="mse").loss == {"logits": "mse"}
    own = classifier(loss=lambda labels, logits: keras.ops.mean(logits))
    np.testing.assert_allclose(
        own.evaluate(PIXELS, LABELS, batch_size=4, verbose=0), np.mean(own(PIXELS).logits), rtol=1e-5, atol=1e-6
    )


def test_labels_that_there_are_not_are_refused_before_the_first_batch():
    model = classifier()
    for labels, error, message in (
        (None, InputError, "y: expected labels, got none"),
        (LABELS + 1, InputError, "expected 0 to 2, or -100 for none, got 3"),
        (np.array(["crane"] * 4), InputTypeError, "labels: expected"),
    ):
        with pytest.raises(error, match=message):
            model.fit(PIXELS, labels, verbose=0)
    with pytest.raises(InputError, match="sample_weight: expected none"):
        model.fit(PIXELS, LABELS, sample_weight=np.ones(4), verbose=0)


def test_labels_may_be_arrays():
    logits = keras.ops.ones((4, 3))
    np.testing.assert_allclose(classification_loss(logits, LABELS, CONFIG), np.log(3), rtol=1e-6)
    with pytest.raises(InputTypeError, match="labels: expected"):
        classification_loss(logits, np.array(["crane"] * 4), CONFIG)


def test_in_a_graph_a_label_that_there_is_not_gives_nan():
    logits = tf.zeros((2, 3))
    loss = tf.function(lambda labels: classification_loss(logits, labels, CONFIG))
    np.testing.assert_allclose(loss(tf.constant([1, -100])), np.log(3), rtol=1e-6)
    for odd in (3, -1):
        assert np.isnan(loss(tf.constant([1, odd])))


def test_keras_files_keep_it_compiled(tmp_path):
    model = classifier(loss=CROSS_ENTROPY)
    model.fit(PIXELS, LABELS, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.config == CONFIG
    np.testing.assert_array_equal(loaded(PIXELS).logits, model(PIXELS).logits)
    np.testing.assert_allclose(*(each.evaluate(PIXELS, LABELS, verbose=0) for each in (loaded, model)))
    model.export(str(tmp_path / "saved"), verbose=False)
    served = tf.saved_model.load(str(tmp_path / "saved"))
    np.testing.assert_allclose(served.serve({"pixel_values": PIXELS})["logits"], model(PIXELS).logits, atol=1e-6)


def test_a_batch_of_fewer_images_than_replicas_ruins_nothing():
    """Of five images in batches of four, the last has no image for the second replica."""
    code = """
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from clip_core.config import CLIPVisionConfig
from clip_core.tests.sizes import DISTINCT
from clip_tf import TFCLIPForImageClassification

SMALL = CLIPVisionConfig(stage_depths=(1, 1, 1, 1), hidden_size=64, num_attention_heads=2, image_size=64)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
for tower in (DISTINCT.vision_config, SMALL):
    pixels = np.random.default_rng(0).standard_normal((5, 3, tower.image_size, tower.image_size)).astype(np.float32)
    with strategy.scope():
        model = TFCLIPForImageClassification(DISTINCT.changed({"vision_config": tower, "num_labels": 3}), seed=3)
        model.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    losses = model.fit(pixels, np.array([0, 1, 2, 2, 1]), batch_size=4, shuffle=False, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert all(np.isfinite(value).all() for value in model.named_weights().values())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shares_of_replicas_add_up():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = classifier()
    np.testing.assert_allclose(
        model.evaluate(PIXELS, LABELS, batch_size=4, verbose=0),
        classifier().evaluate(PIXELS, LABELS, batch_size=4, verbose=0),
        rtol=1e-5,
    )
