"""What Keras' files, TensorFlow's checkpoints and `save_pretrained` keep, and what they refuse to lose."""

import copy
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from clip_core.config import CLIPConfig
from clip_core.errors import InputError, WeightMismatchError
from clip_core.tests import sizes
from clip_core.weights import AXES, permutation
from clip_tf import TFCLIPModel, TFCLIPVisionModelWithProjection

DISTINCT = replace(  # shallow, for Keras traces each layer many times
    sizes.DISTINCT,
    text_config=replace(sizes.DISTINCT.text_config, num_hidden_layers=1),
    vision_config=replace(sizes.DISTINCT.vision_config, num_hidden_layers=2),
)
ENDS = DISTINCT.text_config.eos_token_id
INPUTS = {
    "input_ids": np.array([[5, 7, ENDS], [3, ENDS, 0], [9, 8, ENDS], [1, 2, ENDS]], np.int32),
    "pixel_values": np.random.default_rng(0).standard_normal((4, 3, 30, 30), dtype=np.float32),
}
# Keras says so of layers that stay as they are: norms, convolutions and, for float8, embeddings
pytestmark = pytest.mark.filterwarnings(
    "ignore:Layer .* does not have a `quantize` method", "ignore:Invalid quantization mode.*float8"
)


def logits(model):
    return model(INPUTS).logits_per_image.numpy()


def reloaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    return keras.models.load_model(tmp_path / "model.keras")


def changed(model, *layers):
    """The model after random changes of the LoRA factors of layers, which begin without effect."""
    generator = np.random.default_rng(1)
    for layer in layers:
        for variable in layer.trainable_variables:
            if "lora" in variable.name:
                variable.assign(generator.standard_normal(variable.shape) / 4)
    return model


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_tensorflow_checkpoints_hold_every_variable(tmp_path, dropout):
    towers = {
        "text_config": replace(DISTINCT.text_config, attention_dropout=dropout),
        "vision_config": replace(DISTINCT.vision_config, attention_dropout=dropout),
    }
    config = CLIPConfig(**towers, projection_dim=18)
    model, other = TFCLIPModel(config, seed=3), TFCLIPModel(config, seed=5)
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "checkpoint"))
    stored = [name for name, _ in tf.train.list_variables(path) if name.startswith("model/")]
    assert len(stored) == len(model.variables)
    tf.train.Checkpoint(model=other).read(path).assert_consumed()
    np.testing.assert_array_equal(logits(other), logits(model))
    for got, wanted in zip(other.variables, model.variables, strict=True):
        np.testing.assert_array_equal(got.numpy(), wanted.numpy())


def file_name(spec):
    """The place in the ``.weights.h5`` files that were written before blocks were attributes."""
    names = {"text_model": "layers/text_transformer", "vision_model": "layers/vision_transformer"}
    names |= {"layers.0": "layers/encoder_layer", "layers.1": "layers/encoder_layer_1"}
    names |= {"visual_projection": "layers/dense", "text_projection": "layers/dense_1"}
    names |= {"pre_layrnorm": "pre_layernorm"}
    path = spec.path.removesuffix("logit_scale").removesuffix(".class_embedding")
    for ours, theirs in names.items():
        path = path.replace(ours, theirs)
    return f"{path.replace('.', '/')}/vars/{int(spec.kind.endswith('bias'))}".lstrip("/")


def test_weight_files_keep_their_layout(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3)
    named = model.named_weights()
    wanted = {}
    for spec in model.weight_specs():
        order = permutation(AXES[spec.kind], model.place(spec)[2])
        wanted[file_name(spec)] = np.transpose(named[spec.name], order)
    with h5py.File(tmp_path / "old.weights.h5", "w") as file:
        for name, value in wanted.items():
            file[name] = value
    other = TFCLIPModel(DISTINCT, seed=5)
    other.load_weights(tmp_path / "old.weights.h5")
    np.testing.assert_array_equal(logits(other), logits(model))
    model.save_weights(tmp_path / "new.weights.h5")
    written = {}
    with h5py.File(tmp_path / "new.weights.h5") as file:
        file.visititems(
            lambda name, found: written.update({name: found[()]} if isinstance(found, h5py.Dataset) else {})
        )
    assert written.keys() == wanted.keys()
    assert all(np.array_equal(written[name], wanted[name]) for name in wanted)


def test_blocks_are_counted_once(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3)
    layers = model._flatten_layers()
    assert len({id(layer) for layer in layers}) == len(layers)
    assert len(model.weights) == len({variable.path for variable in model.weights}) == len(model.weight_specs())
    assert [layer.name for layer in model.layers] == [
        "text_model",
        "vision_model",
        "visual_projection",
        "text_projection",
    ]
    lines = []
    model.summary(print_fn=lines.append)
    assert "vision_model" in "\n".join(lines)


def test_what_is_frozen_stays_frozen(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3)
    model.vision_model.trainable = False
    model.vision_model.post_layernorm.trainable = True
    model.logit_scale.trainable = False
    model.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    expected = [variable.path for variable in model.trainable_variables]
    assert 0 < len(expected) < len(model.weights)
    for copied in (
        reloaded(model, tmp_path),
        copy.deepcopy(model),
        keras.models.clone_model(model),
        TFCLIPModel.from_config(model.get_config()),
    ):
        assert [variable.path for variable in copied.trainable_variables] == expected
        assert not copied.vision_model.trainable
        assert copied.vision_model.post_layernorm.trainable
    loaded = reloaded(model, tmp_path)
    before = {variable.path: variable.numpy() for variable in loaded.weights}
    loaded.fit(INPUTS, verbose=0)
    moved = {path for path in before if not np.array_equal(before[path], variable_at(loaded, path))}
    assert moved <= set(expected)
    assert len(moved) > len(expected) / 2


def variable_at(model, path):
    return next(variable.numpy() for variable in model.weights if variable.path == path)


def test_a_frozen_model_whose_head_is_trained_stays_so(tmp_path):
    class WithHead(TFCLIPVisionModelWithProjection):
        def __init__(self, config, **options):
            super().__init__(config, **options)
            self.heads = {"label": keras.layers.Dense(5)}
            self.heads["label"].build((None, 18))

    keras.saving.register_keras_serializable("tests")(WithHead)
    model = WithHead(DISTINCT.vision_config)
    for layer in model.layers:
        layer.trainable = layer is model.heads["label"]
    assert len(reloaded(model, tmp_path).trainable_variables) == len(model.trainable_variables) == 2


def test_gradient_checkpointing_stays_on(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3)
    model.vision_model.encoder.gradient_checkpointing = True
    loaded = reloaded(model, tmp_path)
    assert loaded.vision_model.encoder.gradient_checkpointing
    assert not loaded.text_model.encoder.gradient_checkpointing


def with_lora(model):
    model.trainable = False
    model.trainable = True
    for layer in model.layers:
        layer.trainable = False
    adapted = [
        model.text_model.encoder.layers[0].self_attn.q_proj,
        model.vision_model.encoder.layers[1].mlp.fc1,
        model.text_model.embeddings.token_embedding,
    ]
    for layer in adapted:
        layer.trainable = True
        layer.enable_lora(2, lora_alpha=5)
    return changed(model, *adapted)


def test_lora_stays_and_goes_on_learning(tmp_path):
    model = with_lora(TFCLIPModel(DISTINCT, seed=3))
    loaded = reloaded(model, tmp_path)
    np.testing.assert_allclose(logits(loaded), logits(model), atol=1e-5)
    layer = loaded.text_model.encoder.layers[0].self_attn.q_proj
    assert (layer.lora_enabled, layer.lora_rank, layer.lora_alpha) == (True, 2, 5)
    assert [v.path for v in loaded.trainable_variables] == [v.path for v in model.trainable_variables]
    loaded.compile(keras.optimizers.SGD(0.1), jit_compile=False)
    loaded.fit(INPUTS, verbose=0)
    assert np.abs(layer.lora_kernel_b.numpy()).max() > 0


def test_policies_of_layers_stay(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3)
    model.text_projection.dtype_policy = "mixed_bfloat16"
    loaded = reloaded(model, tmp_path)
    assert loaded.text_projection.compute_dtype == "bfloat16"
    np.testing.assert_array_equal(logits(loaded), logits(model))
    policies = keras.dtype_policies.DTypePolicyMap(default_policy=keras.DTypePolicy("float32"))
    policies["clip/text_projection"] = keras.DTypePolicy("mixed_bfloat16")
    mapped = TFCLIPModel(DISTINCT, seed=3, dtype=policies, name="clip")
    np.testing.assert_array_equal(logits(reloaded(mapped, tmp_path)), logits(mapped))


@pytest.mark.parametrize("mode", ["int8", "int4", "float8"])
def test_quantised_models_load_again(tmp_path, mode):
    model = TFCLIPModel(DISTINCT, seed=3)
    model.vision_model.trainable = False
    model.quantize(mode)
    if mode == "int8":
        model.text_projection.enable_lora(2)
        changed(model, model.text_projection)
    loaded = reloaded(model, tmp_path)
    np.testing.assert_allclose(logits(loaded), logits(model), atol=0.05 if mode == "int8" else 0)
    assert [v.dtype for v in loaded.variables] == [v.dtype for v in model.variables]
    assert len(loaded.trainable_variables) == len(model.trainable_variables)


class WithHead(TFCLIPModel):
    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.head = keras.layers.Dense(3, name="head")
        self.head.build((None, 18))


def with_bias():
    model = TFCLIPModel(DISTINCT)
    model.text_projection = keras.layers.Dense(18, name="biased")
    model.text_projection.build((None, 24))
    return model


def with_more_tokens():
    model = TFCLIPModel(DISTINCT)
    model.text_model.embeddings.token_embedding = keras.layers.Embedding(64, 24, name="more")
    model.text_model.embeddings.token_embedding.build()
    return model


def without_last_layer():
    model = TFCLIPModel(DISTINCT)
    model.vision_model.encoder.layers.pop()
    return model


def quantised(mode, lora=False):
    model = TFCLIPModel(DISTINCT)
    model.text_projection.quantize(mode)
    if lora:
        model.text_projection.enable_lora(2)
    return model


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: WithHead(DISTINCT), r"\+ \S*head/kernel \[18, 3\]: has no place in a checkpoint"),
        (with_bias, r"\+ \S*biased/bias \[18\]: has no place"),
        (with_more_tokens, r"\+ text_model\.embeddings\.token_embedding\.weight \[64, 24\]: in the model"),
        (without_last_layer, r"- vision_model\.encoder\.layers\.1\.layer_norm1\.weight \[\d+\]: cannot be read"),
        (lambda: quantised("int8"), r"\+ text_projection\.weight \[18, 24\]: in the model, int8"),
        (lambda: quantised("int8"), r"\+ \S*text_projection/kernel_scale \[18\]: has no place"),
        (lambda: quantised("int4"), r"\+ text_projection\.weight \[18, 24\]: in the model, int8"),
        (lambda: quantised("float8"), r"\+ \S*text_projection/inputs_scale \[\]: has no place"),
        (lambda: quantised("int8", lora=True), r"\+ \S*text_projection/lora_kernel_a \[24, 2\]: has no place"),
    ],
)
def test_what_would_be_lost_is_named_and_nothing_is_written(tmp_path, make, line):
    with pytest.raises(WeightMismatchError, match=line):
        make().save_pretrained(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_lora_is_saved_as_the_kernel_that_the_layer_computes_with(tmp_path):
    model = with_lora(TFCLIPModel(DISTINCT, seed=3))
    model.save_pretrained(tmp_path)
    assert np.abs(logits(model) - logits(TFCLIPModel(DISTINCT, seed=3))).max() > 0.01
    np.testing.assert_allclose(logits(TFCLIPModel.from_pretrained(tmp_path)), logits(model), atol=1e-5)


def test_files_from_before_layers_were_described_are_read():
    model = TFCLIPModel(DISTINCT, seed=3)
    config = model.get_config()
    del config["layers"]
    np.testing.assert_array_equal(logits(TFCLIPModel.from_config(config)), logits(model))


def test_quantisation_by_calibration_is_refused():
    model = TFCLIPModel(DISTINCT, seed=3)
    config = keras.quantizers.GPTQConfig(dataset=["x"], tokenizer=lambda text: text, quantization_layer_structure={})
    model.text_projection.quantize("gptq", config=config)
    with pytest.raises(
        InputError, match="text_projection: expected .* int8, int4 or float8, got gptq.* before quantize"
    ):
        model.get_config()
