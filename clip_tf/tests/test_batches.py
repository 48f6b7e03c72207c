"""Data as people have them: what the processor returns, data sets of it, texts and pixels that are not prepared."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from clip_core.batch import BatchEncoding, BatchFeature
from clip_core.errors import InputError, InputTypeError
from clip_tf import TFCLIPModel, TFCLIPTextModelWithProjection, TFCLIPVisionModel
from clip_tf.tests.test_saving import DISTINCT, INPUTS


@pytest.fixture(scope="module")
def model():
    model = TFCLIPModel(DISTINCT, seed=3)
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def wanted(model):
    return model.evaluate(INPUTS, verbose=0)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        return BatchFeature(INPUTS)


FORMS = {
    "as x": lambda: BatchFeature(INPUTS),
    "of tensors": lambda: BatchFeature({name: tf.constant(value) for name, value in INPUTS.items()}),
    "slices": lambda: tf.data.Dataset.from_tensor_slices(BatchFeature(INPUTS)).batch(4),
    "mapped": lambda: tf.data.Dataset.from_tensors(0).map(lambda _: BatchFeature(INPUTS)),
    "PyDataset": lambda: Batches(workers=1),
    "generator": lambda: ((BatchFeature(INPUTS),) for _ in range(3)),
}


@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed")  # Keras says so of all but arrays
@pytest.mark.parametrize("form", FORMS)
def test_what_the_processor_returns_is_taken_by_fit_evaluate_and_predict(model, wanted, form):
    history = model.fit(FORMS[form](), validation_data=FORMS[form](), verbose=0, steps_per_epoch=1, validation_steps=1)
    assert history.history == {"loss": [pytest.approx(wanted)], "val_loss": [pytest.approx(wanted)]}
    np.testing.assert_allclose(model.predict(FORMS[form](), steps=1, verbose=0)[0], model(INPUTS)[0], atol=1e-5)


def test_a_nest_of_keras_it_is(model):
    batch = BatchEncoding(INPUTS)
    assert keras.tree.flatten(batch) == keras.tree.flatten(INPUTS)
    keras.tree.assert_same_structure(batch, BatchEncoding(INPUTS))
    shapes = keras.tree.map_structure(np.shape, batch)
    assert shapes == {"input_ids": (4, 3), "pixel_values": (4, 3, 30, 30)}
    symbolic = BatchFeature(model.input_signature)
    functional = keras.Model(symbolic, model(symbolic).logits_per_text)
    full = BatchFeature({**INPUTS, "attention_mask": np.ones_like(INPUTS["input_ids"])})
    np.testing.assert_allclose(functional(full), model(INPUTS).logits_per_text, atol=1e-5)


def test_texts_are_refused_with_what_to_do(model):
    texts = {"input_ids": np.array(["a", "b", "c", "d"]), "pixel_values": INPUTS["pixel_values"]}
    strings = {**texts, "input_ids": tf.constant(["a", "b", "c", "d"])}
    for call in (model, model.predict, model.fit):
        with pytest.raises(InputTypeError, match=r"expected .*, got .*(Tokenize them first: CLIP|Call the processor)"):
            call(texts)
        with pytest.raises(
            InputTypeError, match=r"input_ids: expected (the ids of a tokenizer|an array or a tensor of)"
        ):
            call(strings)
    with pytest.raises(InputTypeError, match=r"input_ids: expected an array .* got list \['a', 'b'\]\. Call the pro"):
        model.predict({**texts, "input_ids": ["a", "b"]})
    with pytest.raises(InputTypeError, match=r"text: expected an array or a tensor of numbers, got ndarray"):
        model.predict({**INPUTS, "text": np.array(["a", "b", "c", "d"])})
    with pytest.raises(
        InputTypeError, match=r"input_ids: expected an array or a tensor of numbers, .* Call the processor"
    ):
        TFCLIPTextModelWithProjection(DISTINCT.text_config).predict(tf.data.Dataset.from_tensors(["a", "b"]))


@pytest.mark.parametrize("of_tower", [False, True])
def test_pixels_from_0_to_255_are_refused_with_what_to_do(model, of_tower):
    pixels = np.float32(255) * np.random.default_rng(0).random((4, 3, 30, 30), np.float32)
    taker, inputs = (TFCLIPVisionModel(DISTINCT.vision_config), pixels) if of_tower else (model, INPUTS.copy())
    if not of_tower:
        inputs["pixel_values"] = pixels
    for call in (taker, taker.predict):
        with pytest.raises(InputError, match=r"around 0, got .* to 25\d.*, as of .*CLIPImageProcessor, which divides"):
            call(inputs)
