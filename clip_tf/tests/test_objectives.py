"""Losses and metrics by output, recall in a batch, the bound of the logit scale; calls that subclasses override."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from clip_core.config import CLIPConfig
from clip_core.errors import InputError, InputTypeError
from clip_tf import InBatchRecall, ScaleLimit, TFCLIPModel, TFCLIPTextModelWithProjection
from clip_tf.tests.test_saving import DISTINCT, INPUTS

PAIRS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BOTH = {"logits_per_image": PAIRS, "logits_per_text": PAIRS}


def compiled(model, **options):
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True, **options)
    return model


def trained_weights(model, *data, **options):
    model.fit(*data, shuffle=False, verbose=0, **options)
    return [ops.convert_to_numpy(variable) for variable in model.weights]


def test_losses_of_both_logits_are_the_contrastive_loss():
    named = compiled(
        TFCLIPModel(DISTINCT, seed=3), loss=BOTH, loss_weights={"logits_per_image": 0.5, "logits_per_text": 0.5}
    )
    own = compiled(TFCLIPModel(DISTINCT, seed=3))
    found, wanted = named.evaluate(INPUTS, verbose=0, return_dict=True), own.evaluate(INPUTS, verbose=0)
    assert found["loss"] == pytest.approx(wanted, rel=1e-5)
    assert found["logits_per_image_loss"] + found["logits_per_text_loss"] == pytest.approx(2 * wanted, rel=1e-5)
    for got, expected in zip(trained_weights(named, INPUTS), trained_weights(own, INPUTS), strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)
    shuffled = named.fit(INPUTS, batch_size=2, shuffle=True, verbose=0).history["loss"]
    assert np.isfinite(shuffled).all()  # targets are numbered in the batch, whatever its order


def test_losses_of_outputs_with_targets():
    target = np.zeros((4, 18), np.float32)
    tower = compiled(TFCLIPTextModelWithProjection(DISTINCT.text_config, seed=3), loss={"text_embeds": "mse"})
    embeds = ops.convert_to_numpy(tower(INPUTS["input_ids"]).text_embeds)
    for targets in (target, {"text_embeds": target}):
        assert tower.evaluate(INPUTS["input_ids"], targets, verbose=0) == pytest.approx((embeds**2).mean(), rel=1e-5)
    model = compiled(TFCLIPModel(DISTINCT, seed=3), loss={"image_embeds": "mse", **BOTH})
    found = model.evaluate(INPUTS, {"image_embeds": target}, verbose=0, return_dict=True)
    assert found["image_embeds_loss"] == pytest.approx(1 / 18, rel=1e-5)
    with pytest.raises(InputError, match="got none for logits_per_image, logits_per_text, whose targets are the pairs"):
        model.evaluate(INPUTS, {"image_embeds": target}, sample_weight=np.zeros(4), verbose=0)
    alone = compiled(TFCLIPModel(DISTINCT, seed=3), loss={"image_embeds": "mse"})
    assert alone.evaluate(INPUTS, {"image_embeds": target}, sample_weight=np.zeros(4), verbose=0) == 0


def test_a_loss_by_output_is_in_keras_files(tmp_path):
    compiled(TFCLIPModel(DISTINCT, seed=3), loss=BOTH, metrics={"logits_per_image": InBatchRecall(2)}).save(
        tmp_path / "m.keras"
    )
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert set(loaded.loss) == set(BOTH)
    assert set(loaded.measured_outputs) == {"logits_per_image"}


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ({"logits": PAIRS}, "loss: expected names of outputs, logits_per_image, .*; got logits"),
        ({"text_embeds": "mse"}, "expected a target for each of text_embeds, .* got none; look at text_embeds"),
        ({"text_model_output": "mse"}, "got text_model_output"),
        ({"logits_per_image": "mse"}, r"expected .*from_logits=True.* for logits_per_image, .* got 'mse'"),
        ({"logits_per_image": keras.losses.SparseCategoricalCrossentropy()}, r"expected .*from_logits=True"),
    ],
)
def test_losses_that_would_mean_nothing_are_refused(loss, message):
    with pytest.raises(InputError, match=message):
        compiled(TFCLIPModel(DISTINCT), loss=loss).evaluate(INPUTS, verbose=0)


def test_recall_in_a_batch():
    recall = InBatchRecall(1)
    recall.update_state(None, np.float32([[3, 1, 2], [5, 4, 0], [0, 1, 2]]))
    assert float(recall.result()) == pytest.approx(2 / 3)
    recall.update_state(None, np.full((2, 2), np.nan, np.float32))
    recall.update_state(None, np.ones((1, 1), np.float32))
    assert float(recall.result()) == pytest.approx(3 / 6)
    second = InBatchRecall.from_config(InBatchRecall(2).get_config())
    second.update_state(None, np.float32([[3, 1, 2], [5, 4, 0], [3, 3, 3]]))
    assert (second.name, float(second.result())) == ("recall_at_2", pytest.approx(2 / 3))
    with pytest.raises(InputError, match="k: expected 1 or more, got 0"):
        InBatchRecall(0)


def test_metrics_by_output():
    metrics = {"logits_per_image": [InBatchRecall(1), "accuracy"], "logits_per_text": InBatchRecall(1)}
    model = compiled(TFCLIPModel(DISTINCT, seed=3), metrics=metrics)
    logits = ops.convert_to_numpy(model(INPUTS).logits_per_image)
    found = model.evaluate(INPUTS, verbose=0, return_dict=True)
    by_image, by_text = [(logits.argmax(axis) == np.arange(4)).mean() for axis in (1, 0)]
    assert found["logits_per_image_recall_at_1"] == found["logits_per_image_accuracy"] == pytest.approx(by_image)
    assert found["logits_per_text_recall_at_1"] == pytest.approx(by_text)


def test_the_logit_scale_stays_below_its_limit(tmp_path):
    model = compiled(TFCLIPModel(DISTINCT, seed=3))
    model.logit_scale.assign(np.log(99.0))
    model.logit_scale.constraint = ScaleLimit(7)
    model.save(tmp_path / "model.keras")
    for limited in (model, keras.models.load_model(tmp_path / "model.keras")):
        compiled(limited).fit(INPUTS, verbose=0)
        assert np.exp(ops.convert_to_numpy(limited.logit_scale)) == pytest.approx(7, rel=1e-5)
    assert ScaleLimit.from_config(ScaleLimit().get_config()).maximum == 100
    with pytest.raises(InputError, match="maximum: expected a number above 0, got 0"):
        ScaleLimit(0)


class PassesOn(TFCLIPModel):
    def call(self, *args, **kwargs):
        self.trains = kwargs.get("training")
        return super().call(*args, **kwargs)


class TakesABatch(TFCLIPModel):
    def call(self, inputs, training=False):
        self.trains = training
        return super().call(inputs, training=training)


class HasOneMore(TFCLIPModel):
    def call(self, input_ids, pixel_values, weight=None, **kwargs):
        self.trains = kwargs.get("training")
        return super().call(input_ids, pixel_values, **kwargs)


class Classifies(TFCLIPModel):
    def call(self, inputs, training=False):
        self.trains = training
        return super().call(**inputs, training=training).logits_per_image


@pytest.mark.parametrize("subclass", [PassesOn, TakesABatch, HasOneMore, Classifies])
def test_call_can_be_overridden(subclass):
    tower = replace(DISTINCT.text_config, attention_dropout=0.5)
    config = CLIPConfig(text_config=tower, vision_config=DISTINCT.vision_config, projection_dim=18)
    model, plain = subclass(config, seed=3), TFCLIPModel(config, seed=3)
    wanted = ops.convert_to_numpy(plain(INPUTS).logits_per_image)
    options = {"loss": PAIRS} if subclass is Classifies else {}
    targets = [np.arange(4)] if options else []
    for output in (model(INPUTS), compiled(model, **options).predict(INPUTS, verbose=0)):
        found = ops.convert_to_numpy(output if options else output.logits_per_image)
        np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert not model.trains
    history = model.fit(INPUTS, *targets, shuffle=False, verbose=0).history["loss"]
    assert model.trains
    assert abs(history[0] - model.evaluate(INPUTS, *targets, verbose=0)) > 1e-4  # dropout; and a step


def test_arguments_that_an_overridden_call_does_not_have_are_named():
    with pytest.raises(InputTypeError, match="PassesOn: .*pixel.*; expected arguments or keys of input_ids, pixel_val"):
        PassesOn(DISTINCT)({"input_ids": INPUTS["input_ids"], "pixels": INPUTS["pixel_values"]})
    with pytest.raises(InputTypeError, match="TakesABatch: .*; expected arguments or keys of inputs, training"):
        TakesABatch(DISTINCT)(**INPUTS)


def test_a_subclass_of_other_outputs_wants_a_loss():
    with pytest.raises(
        InputError, match="Classifies.call: expected the outputs of CLIP .* Compile the model with a loss"
    ):
        compiled(Classifies(DISTINCT)).fit(INPUTS, verbose=0)


def test_features_take_a_dict():
    model = TFCLIPModel(DISTINCT, seed=3)
    for features, name in ((model.get_text_features, "input_ids"), (model.get_image_features, "pixel_values")):
        pair = [ops.convert_to_numpy(found) for found in (features({name: INPUTS[name]}), features(INPUTS[name]))]
        np.testing.assert_array_equal(*pair)


def test_attention_is_dropped_out_in_fit_on_every_backend():
    tower = replace(DISTINCT.text_config, attention_dropout=0.5)
    config = CLIPConfig(text_config=tower, vision_config=DISTINCT.vision_config, projection_dim=18)
    model = TFCLIPModel(config, seed=3)
    model.compile(keras.optimizers.SGD(0.0), jit_compile=False)
    losses = [model.fit(INPUTS, shuffle=False, verbose=0).history["loss"][0] for _ in range(2)]
    assert abs(losses[0] - losses[1]) > 1e-3
