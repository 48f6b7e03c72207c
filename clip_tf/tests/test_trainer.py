"""`compile`, `fit`, `evaluate` and `predict`: what they refuse, and what they check before the first batch."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from clip_core.batch import BatchFeature
from clip_core.errors import InputError, InputTypeError
from clip_core.outputs import CLIPOutput
from clip_tf import TFCLIPModel, TFCLIPTextModelWithProjection
from clip_tf.tests.test_saving import DISTINCT, INPUTS


@pytest.fixture
def model():
    model = TFCLIPModel(DISTINCT, seed=3)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    return model


def weights_of(model):
    return [variable.numpy() for variable in model.weights]


@pytest.mark.parametrize(
    "options", [{"loss": "mse"}, {"loss": ["mse"]}, {"metrics": ["accuracy"]}, {"loss_weights": [1.0]}], ids=str
)
def test_another_loss_is_refused(model, options):
    (name,) = options
    with pytest.raises(
        InputError, match=rf"TFCLIPModel.compile: expected no {name}, .*got .* Leave out {name}; for anoth"
    ):
        model.compile("sgd", **options)


@pytest.mark.parametrize("name", ["y", "sample_weight", "class_weight"])
def test_targets_and_weights_of_samples_are_refused(model, name):
    before = weights_of(model)
    value = {0: 1.0} if name == "class_weight" else np.ones(4)
    with pytest.raises(InputError, match=f"{name}: expected none, got one. .* Leave out {name}; for another loss"):
        model.fit(INPUTS, verbose=0, **{name: value})
    for got, wanted in zip(weights_of(model), before, strict=True):
        np.testing.assert_array_equal(got, wanted)
    dataset = tf.data.Dataset.from_tensors((INPUTS, None, np.ones(4)))
    with pytest.raises(InputError, match="sample_weight: expected none, got one"):
        model.fit(dataset, shuffle=False, verbose=0)


def test_a_subclass_trains_with_a_loss_of_its_own():
    class Distilled(TFCLIPModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return tf.reduce_mean(
                sample_weight * tf.reduce_sum(tf.square(y - y_pred.image_embeds), axis=-1)
            ) + 0 * tf.reduce_sum(y_pred[0])

    model = Distilled(DISTINCT, seed=3)
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    history = model.fit(INPUTS, np.zeros((4, 18)), sample_weight=np.full(4, 0.5), verbose=0).history
    np.testing.assert_allclose(history["loss"], 0.5, rtol=1e-5)


def test_files_that_were_compiled_with_a_loss_are_read(model, tmp_path):
    config = model.get_compile_config()
    model.compile_from_config({**config, "loss": "mse"})
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    assert len(model.optimizer.variables) >= 2
    model.save(tmp_path / "model.keras")
    assert keras.models.load_model(tmp_path / "model.keras").compiled


@pytest.mark.parametrize("batch_size", [4, 3, 2])
@pytest.mark.parametrize("return_dict", [True, False])
def test_predict_compares_all_images_with_all_texts(batch_size, return_dict):
    model = TFCLIPModel(DISTINCT, seed=3)
    expected = model(INPUTS)
    model.config = DISTINCT if return_dict else type(DISTINCT).from_dict({**DISTINCT.to_dict(), "return_dict": False})
    output = model.predict(INPUTS, batch_size=batch_size, verbose=0)
    assert isinstance(output, CLIPOutput) is return_dict
    for got, wanted in zip(output[:4], expected[:4], strict=True):
        assert isinstance(got, np.ndarray)
        np.testing.assert_allclose(got, wanted, atol=1e-5)


def bad(name, index, value):
    """The inputs with a value changed."""
    changed = {**INPUTS, "attention_mask": np.ones_like(INPUTS["input_ids"])}
    changed[name] = changed[name].copy()
    changed[name][index] = value
    return changed


BAD = [
    (bad("attention_mask", (0, 0), 0), "row 0 begins with padding"),
    (bad("attention_mask", 0, 0), "row 0 has no token"),
    (bad("attention_mask", (0, 2), -10000), "expected only 1 .* got -10000"),
    (bad("input_ids", 0, 3), "expected the end-of-text id 60 in every row, row 0 has none"),
    (bad("input_ids", (0, 1), -1), "expected 0 to 60, got -1"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD, ids=["left padding", "zeros", "additive", "no end", "-1"])
@pytest.mark.parametrize(
    "method", ["fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch"]
)
def test_bad_texts_are_refused_before_the_first_batch(model, method, inputs, message):
    for given in (inputs, {name: tf.constant(value) for name, value in inputs.items()}):
        with pytest.raises(InputError, match=message):
            getattr(model, method)(given)


def dataset(inputs):
    return tf.data.Dataset.from_tensor_slices(inputs).batch(2)


def generated(inputs):
    return (({name: value[row : row + 2] for name, value in inputs.items()},) for row in (0, 2))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # so Keras ends with every generator
@pytest.mark.parametrize(("inputs", "message"), BAD[1:3], ids=["zeros", "additive"])
@pytest.mark.parametrize("data", [dataset, generated])
def test_bad_texts_out_of_data_sets_and_generators_are_refused_with_the_same_words(model, data, inputs, message):
    good = {**inputs, **INPUTS, "attention_mask": np.ones_like(inputs["attention_mask"])}
    ordered = {name: np.roll(value, 2, axis=0) for name, value in inputs.items()}  # bad in the second batch
    assert np.isfinite(model.fit(data(good), shuffle=False, verbose=0).history["loss"][0])
    for method in (partial(model.fit, shuffle=False), model.evaluate, model.predict):
        with pytest.raises(InputError, match=message):
            method(data(ordered), verbose=0)
    if data is dataset:  # the data that is checked besides; it is one
        with pytest.raises(InputError, match=message):
            model.fit(data(good), validation_data=data(ordered), shuffle=False, verbose=0)
    assert all(np.isfinite(weight).all() for weight in weights_of(model))


def test_the_first_batch_of_a_data_set_is_looked_at_for_pixels_too(model):
    raw = {**INPUTS, "pixel_values": np.full_like(INPUTS["pixel_values"], 100)}
    with pytest.raises(InputError, match="pixel_values: .*not normalised"):
        model.fit(dataset(raw), shuffle=False, verbose=0)


def test_texts_in_a_data_set_are_refused_with_what_to_do():
    tower = TFCLIPTextModelWithProjection(DISTINCT.text_config)
    with pytest.raises(InputTypeError, match=r"got ndarray .*b'a cat'.*Call the processor"):
        tower.predict(dataset(["a cat"]), verbose=0)


def test_errors_of_others_stay_theirs(model):
    def broken():
        yield ({name: value[:2] for name, value in INPUTS.items()},)
        raise KeyError("theirs")

    with pytest.raises(KeyError, match="theirs"):
        model.predict(broken(), verbose=0)


def test_a_single_array_and_validation_data_are_checked(model):
    tower = TFCLIPTextModelWithProjection(DISTINCT.text_config)
    with pytest.raises(InputError, match="end-of-text"):
        tower.predict(BAD[3][0]["input_ids"])
    with pytest.raises(InputTypeError, match="input_ids: expected integers"):
        tower.predict(np.zeros((2, 3), np.float32))
    with pytest.raises(InputError, match="row 0 has no token"):
        model.fit(INPUTS, validation_data=BAD[1][0], verbose=0)


def test_what_the_processor_returns_is_taken_as_it_is(model):
    expected = model.evaluate(INPUTS, verbose=0)
    assert model.evaluate(BatchFeature(INPUTS), verbose=0) == pytest.approx(expected)
    assert model.fit(BatchFeature(INPUTS), verbose=0).history["loss"] == pytest.approx([expected], rel=1e-5)
