"""What a Keras user does with a model; the numbers themselves are the conformance suite's."""

from collections import UserDict
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from clip_core.batch import BatchFeature
from clip_core.config import CLIPConfig, CLIPTextConfig
from clip_core.errors import InputError, InputTypeError
from clip_core.initialization import draw_weights
from clip_core.outputs import CLIPOutput
from clip_core.schemes import KERAS
from clip_core.tests import sizes
from clip_tf import (
    TFCLIPModel,
    TFCLIPTextModel,
    TFCLIPTextModelWithProjection,
    TFCLIPVisionModel,
    TFCLIPVisionModelWithProjection,
)
from clip_tf.layers import host_values

DISTINCT = replace(  # shallow, for Keras traces each layer many times
    sizes.DISTINCT,
    text_config=replace(sizes.DISTINCT.text_config, num_hidden_layers=1),
    vision_config=replace(sizes.DISTINCT.vision_config, num_hidden_layers=2),
)
ALL_FIVE = [
    (TFCLIPModel, DISTINCT),
    (TFCLIPTextModel, DISTINCT.text_config),
    (TFCLIPTextModelWithProjection, DISTINCT.text_config),
    (TFCLIPVisionModel, DISTINCT.vision_config),
    (TFCLIPVisionModelWithProjection, DISTINCT.vision_config),
]


@pytest.fixture(scope="module")
def model():
    return TFCLIPModel(DISTINCT, seed=3)


@pytest.fixture(scope="module")
def inputs():
    generator = np.random.default_rng(0)
    ids = generator.integers(0, 58, (4, 9), dtype=np.int32)
    ids[:, 6] = DISTINCT.text_config.eos_token_id
    mask = np.ones_like(ids)
    mask[1, 7:] = 0
    pixels = generator.standard_normal((4, 3, 30, 30), dtype=np.float32)
    return {"input_ids": ids, "pixel_values": pixels, "attention_mask": mask}


def of_tower(model, inputs):
    """The inputs that a model takes."""
    names = {"text": ("input_ids", "attention_mask"), "vision": ("pixel_values",)}
    towers = [tower for tower in names if hasattr(model, f"{tower}_model")]
    return {name: inputs[name] for tower in towers for name in names[tower]}


def assert_same(output, expected, atol=1e-5, rtol=1e-4):
    for got, wanted in zip(tf.nest.flatten(output), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(got, wanted, atol=atol, rtol=rtol)


@pytest.mark.parametrize(("model_class", "config"), ALL_FIVE)
def test_every_weight_exists_in_the_constructor_under_its_path_in_the_table(model_class, config):
    model = model_class(config, name="clip")
    paths = [variable.path.replace("/", ".") for variable in model.weights]
    leaves = {kind: f".{leaf}" for kind, leaf in KERAS.leaves.items()}
    assert sorted(paths) == sorted(f"clip.{spec.path}{leaves.get(spec.kind, '')}" for spec in model.weight_specs())


def test_a_mapping_as_only_argument_is_unpacked(model, inputs):
    expected = model(inputs["input_ids"], inputs["pixel_values"], inputs["attention_mask"])
    for mapping in (inputs, BatchFeature(inputs), UserDict(inputs)):
        assert_same(model(mapping), expected, atol=0)
    assert_same(model(inputs, return_loss=True)[1:], expected, atol=0)
    with pytest.raises(InputTypeError, match="unexpected keyword argument 'pixels'.*keys of input_ids, pixel_values,"):
        model(inputs | {"pixels": inputs["pixel_values"]})
    with pytest.raises(InputTypeError, match="missing a required argument: 'pixel_values'"):
        model({"input_ids": inputs["input_ids"]})


def test_features_are_equal_eager_and_in_a_graph(model, inputs):
    output = model(inputs)
    text = model.get_text_features(inputs["input_ids"], inputs["attention_mask"])
    image = model.get_image_features(inputs["pixel_values"])
    assert_same(tf.math.l2_normalize(text, axis=-1), output.text_embeds)
    assert_same(tf.math.l2_normalize(image, axis=-1), output.image_embeds)
    tensors = {name: tf.constant(value) for name, value in inputs.items()}
    assert_same(tf.function(model.get_text_features)(tensors["input_ids"], tensors["attention_mask"]), text)
    assert_same(tf.function(model.get_image_features)(tensors["pixel_values"]), image)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_one_graph_takes_any_batch_size_and_length(model, inputs, jit_compile):
    ids = tf.TensorSpec((None, None), tf.int32)
    signature = {"input_ids": ids, "pixel_values": tf.TensorSpec((None, None, None, None)), "attention_mask": ids}
    graph = tf.function(
        lambda batch: model(batch, output_attentions=True, output_hidden_states=True, return_loss=True),
        input_signature=[signature],
        jit_compile=jit_compile,
    )
    for count, length in ((4, 9), (2, 7)):
        batch = {name: tf.constant(value[:count]) for name, value in inputs.items()}
        batch |= {name: batch[name][:, :length] for name in ("input_ids", "attention_mask")}
        assert_same(graph(batch), model(batch, output_attentions=True, output_hidden_states=True, return_loss=True))


def test_a_graph_refuses_sizes_that_it_did_not_know_when_it_was_traced(model):
    text = tf.function(model.get_text_features, input_signature=[tf.TensorSpec((None, None), tf.int32)])
    with pytest.raises(tf.errors.InvalidArgumentError):
        text(tf.fill((2, 12), 60))
    image = tf.function(model.get_image_features, input_signature=[tf.TensorSpec((None, 3, None, None))])
    with pytest.raises(tf.errors.InvalidArgumentError, match="30"):
        image(tf.zeros((2, 3, 60, 15)))  # as many patches, of another shape
    # autograph=False, for AutoGraph replaces exceptions that it does not know by one of its own
    image = tf.function(lambda pixels: model.get_image_features(pixels, interpolate_pos_encoding=True), autograph=False)
    assert image(tf.zeros((2, 3, 44, 23))).shape == (2, 18)
    with pytest.raises(InputError, match="known height and width"):
        image.get_concrete_function(tf.TensorSpec((None, 3, None, 23)))


def test_fit_lowers_the_contrastive_loss_and_predict_and_evaluate_take_a_dict(inputs):
    keras.utils.set_random_seed(0)
    model = TFCLIPModel(DISTINCT, seed=3)
    expected = model(inputs, return_loss=True)
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
    np.testing.assert_allclose(model.evaluate(inputs, batch_size=4, verbose=0), expected.loss, rtol=1e-5)
    history = model.fit(inputs, batch_size=4, epochs=4, verbose=0).history["loss"]
    np.testing.assert_allclose(history[0], expected.loss, rtol=1e-5)
    assert history == sorted(history, reverse=True)
    output = model.predict(inputs, batch_size=4, verbose=0)
    assert isinstance(output, CLIPOutput)
    assert_same(output, model(inputs))


def test_fit_with_targets_uses_the_compiled_loss(inputs):
    model = TFCLIPTextModelWithProjection(replace(DISTINCT.text_config, return_dict=False), seed=3)
    target = np.zeros((4, 18), np.float32)
    model.compile(keras.optimizers.Adam(1e-3), loss=["mse", None], jit_compile=False)
    history = model.fit(of_tower(model, inputs), target, epochs=3, verbose=0).history["loss"]
    assert history == sorted(history, reverse=True)


def test_a_tower_inside_a_functional_model_lives_through_fit_file_and_export(tmp_path, inputs):
    keras.utils.set_random_seed(0)
    pixels = keras.Input((3, 30, 30))
    tower = TFCLIPVisionModelWithProjection(DISTINCT.vision_config, seed=3)
    model = keras.Model(pixels, keras.layers.Dense(5)(tower(pixels).image_embeds))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    before = tower.visual_projection.kernel.numpy()
    model.fit(inputs["pixel_values"], np.arange(4), verbose=0)
    assert not np.array_equal(tower.visual_projection.kernel.numpy(), before)
    expected = model(inputs["pixel_values"])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same(loaded(inputs["pixel_values"]), expected, atol=0, rtol=0)
    loaded.export(tmp_path / "exported", format="tf_saved_model", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    assert_same(exported.serve(inputs["pixel_values"]), expected)


def test_both_towers_inside_a_functional_model(model, inputs):
    named = {
        "input_ids": keras.Input((None,), dtype="int32", name="input_ids"),
        "pixel_values": keras.Input((3, 30, 30), name="pixel_values"),
        "attention_mask": keras.Input((None,), dtype="int32", name="attention_mask"),
    }
    functional = keras.Model(named, model(named).logits_per_image)
    assert_same(functional(inputs), model(inputs).logits_per_image)
    features = keras.Model(named["input_ids"], model.get_text_features(named["input_ids"]))
    assert_same(features(inputs["input_ids"]), model.get_text_features(inputs["input_ids"]))


@pytest.mark.parametrize(("model_class", "config"), ALL_FIVE[::2])
def test_exports_with_its_own_signature(tmp_path, inputs, model_class, config):
    model = model_class(config, seed=3)
    model.export(tmp_path, verbose=False)
    exported = tf.saved_model.load(tmp_path)
    batch, expected = of_tower(model, inputs), model(of_tower(model, inputs))
    output = exported.serve(batch)
    assert set(output) == set(expected._fields) - {"text_model_output", "vision_model_output"}
    for name, value in output.items():
        assert_same(value, expected[name])


@pytest.mark.parametrize(("model_class", "config"), ALL_FIVE)
def test_keras_files_and_configs(tmp_path, inputs, model_class, config):
    model = model_class(replace(config, output_hidden_states=True), seed=5, dtype="mixed_bfloat16", name="clip")
    model.trainable = False
    batch = of_tower(model, inputs)
    clone = type(model).from_config(model.get_config())
    assert (clone.config, clone.name, clone.trainable) == (model.config, "clip", False)
    assert clone.dtype_policy.name == "mixed_bfloat16"
    assert_same(clone(batch), model(batch), atol=0)
    for variable in model.variables:
        variable.assign_add(tf.ones(variable.shape) / 8)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    clone.load_weights(tmp_path / "model.weights.h5")
    for copy in (clone, keras.models.load_model(tmp_path / "model.keras")):
        assert_same([v.value for v in copy.variables], [v.value for v in model.variables], atol=0)


NAMES = ("float32", "bfloat16", "float16", "mixed_bfloat16", "mixed_float16")


@pytest.mark.parametrize(
    ("dtype", "name"), [*((name, name) for name in NAMES), (tf.bfloat16, "bfloat16"), (np.float16, "float16")]
)
def test_dtypes_and_policies(inputs, dtype, name):
    before = keras.config.dtype_policy()
    model = TFCLIPModel(DISTINCT, seed=3, dtype=dtype)
    policy = keras.DTypePolicy(name)
    output = model(inputs, return_loss=True, output_attentions=True)
    assert {variable.dtype for variable in model.weights} == {policy.variable_dtype}
    assert output.text_embeds.dtype == output.text_model_output.attentions[0].dtype == policy.compute_dtype
    assert output.loss.dtype == output.logits_per_image.dtype == tf.float32
    assert model.get_image_features(inputs["pixel_values"]).dtype == policy.compute_dtype
    exact = TFCLIPModel(DISTINCT, seed=3)(inputs, return_loss=True)
    np.testing.assert_allclose(output.logits_per_text, exact.logits_per_text, atol=0.2)
    assert keras.config.dtype_policy() == before


def test_the_global_policy_is_taken_where_none_is_given(tmp_path):
    TFCLIPModel(DISTINCT, seed=3).save_pretrained(tmp_path)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        models = [TFCLIPModel(DISTINCT, seed=3), TFCLIPModel.from_pretrained(tmp_path)]
        explicit = TFCLIPModel(DISTINCT, seed=3, dtype="float32")
    finally:
        keras.config.set_dtype_policy(before)
    assert [model.text_projection.dtype_policy.name for model in (*models, explicit)] == [
        "mixed_bfloat16",
        "mixed_bfloat16",
        "float32",
    ]


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")  # Keras: norms and convolutions stay
def test_quantizes_to_int8(inputs):
    model = TFCLIPModel(DISTINCT, seed=3)
    expected = model(inputs)
    model.quantize("int8")
    assert model.vision_model.embeddings.position_embedding.embeddings.dtype == "int8"
    np.testing.assert_allclose(model(inputs).image_embeds, expected.image_embeds, atol=0.05)


def test_mixed_precision_trains_float32_weights(inputs):
    model = TFCLIPModel(DISTINCT, seed=3, dtype="mixed_float16")
    model.gradient_checkpointing_enable()
    model.compile(keras.optimizers.SGD(1e-3), jit_compile=False)
    history = model.fit(inputs, batch_size=4, epochs=6, verbose=0).history["loss"]
    assert history[-1] < history[0]  # the first steps are left out, until the loss scale fits
    assert model.logit_scale.dtype == "float32"


@pytest.mark.parametrize(("dropout", "in_graph"), [(0.0, False), (0.4, False), (0.4, True)])
def test_gradient_checkpointing_changes_no_gradient(inputs, dropout, in_graph):
    towers = {
        "text_config": replace(DISTINCT.text_config, attention_dropout=dropout),
        "vision_config": replace(DISTINCT.vision_config, attention_dropout=dropout),
    }
    found = []
    for enabled in (False, True):
        keras.utils.set_random_seed(7)
        model = TFCLIPModel(CLIPConfig(**towers, projection_dim=18), seed=3)
        if enabled:
            model.gradient_checkpointing_enable()
        assert model.vision_model.encoder.gradient_checkpointing is enabled
        calculate = tf.function(gradients) if in_graph else gradients
        found.append([tf.convert_to_tensor(gradient) for gradient in calculate(model, inputs)])
    for plain, recomputed in zip(*found, strict=True):
        np.testing.assert_allclose(recomputed, plain, atol=1e-6, rtol=1e-5)


def gradients(model, inputs):
    """The gradient of the model's loss by each of its trainable variables."""
    with tf.GradientTape() as tape:
        loss = model(inputs, return_loss=True, training=True).loss
    return tape.gradient(loss, model.trainable_variables)


def test_attention_dropout_acts_in_training_only_and_after_the_attentions(inputs):
    model = TFCLIPTextModel(replace(DISTINCT.text_config, attention_dropout=0.5), seed=3)
    batch = of_tower(model, inputs)
    first, second, trained = model(batch), model(batch), model(batch, training=True, output_attentions=True)
    assert_same(first, second, atol=0, rtol=0)
    assert not np.allclose(trained[0], first[0], atol=1e-3)
    assert not np.allclose(trained[0], model(batch, training=True)[0], atol=1e-3)
    np.testing.assert_allclose(tf.reduce_sum(trained.attentions[0], axis=-1), 1, rtol=1e-5)
    whole = TFCLIPModel(CLIPConfig(text_config=model.config, vision_config=DISTINCT.vision_config), seed=3)
    features = whole.get_text_features(**batch)
    assert not np.allclose(whole.get_text_features(**batch, training=True), features, atol=1e-3)


def test_loading_neither_needs_random_numbers_nor_changes_the_callers_arrays(inputs):
    weights = dict(draw_weights(DISTINCT, seed=3))
    before = {name: value.copy() for name, value in weights.items()}
    model = TFCLIPModel(DISTINCT, weights=weights)
    for variable in model.variables:
        variable.assign_add(tf.ones(variable.shape))
    assert all(np.array_equal(value, before[name]) for name, value in weights.items())
    for value in weights.values():
        value.fill(7)
    assert not any(np.any(variable.value.numpy() == 7) for variable in model.variables)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_saved_model_is_loaded_in_its_dtype_or_another(tmp_path, dtype):
    model = TFCLIPModel(DISTINCT, seed=3, dtype=dtype)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    for got, wanted in zip(TFCLIPModel.from_pretrained(tmp_path, dtype="auto").weights, model.weights, strict=True):
        assert got.dtype == dtype
        assert got.value.numpy().tobytes() == wanted.value.numpy().tobytes()
    assert TFCLIPModel.from_pretrained(tmp_path).dtype == "float32"
    assert TFCLIPModel.from_pretrained(tmp_path, dtype="mixed_float16").compute_dtype == "float16"


def test_host_values_are_taken_from_eager_tensors_only():
    tensor = tf.constant([1, 2])
    assert host_values(tensor).tolist() == [1, 2]
    assert host_values(None) is None
    seen = []
    tf.function(lambda x: seen.append(host_values(x)))(tensor)
    assert seen == [None]


def test_wrong_inputs_are_refused(model, inputs):
    with pytest.raises(InputTypeError, match="input_ids: expected a tf.Tensor or a NumPy array, got list"):
        model(inputs["input_ids"].tolist(), inputs["pixel_values"])
    with pytest.raises(InputTypeError, match="pixel_values: expected floating-point numbers, got uint8"):
        model(inputs["input_ids"], inputs["pixel_values"].astype(np.uint8))
    with pytest.raises(InputTypeError, match="expected a CLIPVisionConfig, got CLIPTextConfig"):
        TFCLIPVisionModelWithProjection(CLIPTextConfig())
    with pytest.raises(InputTypeError, match="dtype: expected float32, bfloat16, float16, .* got 'int8'"):
        TFCLIPModel(DISTINCT, dtype="int8")
    with pytest.raises(InputError, match="as many images as texts"):
        model(inputs["input_ids"], inputs["pixel_values"][:3], return_loss=True)
    with pytest.raises(InputError, match="input_ids: expected 0 to 60, got"):
        model(inputs["input_ids"] + 1000, inputs["pixel_values"])
    with pytest.raises(InputError, match="input_ids: expected 0 to 60, got"):
        model.get_text_features(inputs["input_ids"] + 1000)
