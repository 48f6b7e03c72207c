"""LoRA: what is trained, what is saved, and that no save changes or rounds anything."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from clip_core.checkpoint.safetensors_file import SafetensorsFile
from clip_core.errors import CheckpointFormatError, InputError, WeightMismatchError
from clip_tf import TFCLIPModel, TFCLIPVisionModelWithProjection
from clip_tf.tests.test_saving import DISTINCT, INPUTS

TARGETS = ("v_proj", "mlp.fc1", "token_embedding")


def logits(model):
    return ops.convert_to_numpy(model(INPUTS).logits_per_image)


def adapted(rank=2, alpha=5, dtype=None):
    """A model with LoRA whose factors have an effect."""
    model = TFCLIPModel(DISTINCT, seed=3, dtype=dtype)
    model.enable_lora(rank, TARGETS, lora_alpha=alpha)
    generator = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(generator.standard_normal(variable.shape) / 4)
    return model


def values(model):
    return {variable.path: ops.convert_to_numpy(variable) for variable in model.weights}


def test_only_the_factors_are_trained_and_they_begin_without_effect():
    model = TFCLIPModel(DISTINCT, seed=3)
    expected = logits(model)
    model.enable_lora(rank=2)
    assert {path.split("/")[-2] for path in values(model) if "lora" in path} == {"q_proj", "v_proj"}
    assert all("lora" in variable.path for variable in model.trainable_variables)
    assert len(model.trainable_variables) == 2 * 2 * 3
    np.testing.assert_array_equal(logits(model), expected)
    before = values(model)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model.fit(INPUTS, verbose=0)
    moved = {path.split("/")[-1] for path, value in values(model).items() if not np.array_equal(value, before[path])}
    assert moved == {"lora_kernel_b"}  # the first factor waits for the second, which is 0
    assert np.abs(logits(model) - expected).max() > 1e-5


def test_an_adapter_is_saved_and_loaded_alone(tmp_path):
    model = adapted()
    model.save_adapter(tmp_path)
    other = TFCLIPModel(DISTINCT, seed=3)
    other.load_adapter(tmp_path)
    np.testing.assert_array_equal(logits(other), logits(model))
    assert [v.path.split("/", 1)[1] for v in other.trainable_variables] == [
        v.path.split("/", 1)[1] for v in model.trainable_variables
    ]
    other.load_adapter(tmp_path)  # of the same shape, a second time
    np.testing.assert_array_equal(logits(other), logits(model))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 30_000


def test_its_files_are_those_of_peft(tmp_path):
    model = adapted()
    model.save_adapter(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"], config["bias"]) == ("LORA", 2, 5.0, "none")
    stored = SafetensorsFile(tmp_path / "adapter_model.safetensors")
    layer = model.vision_model.encoder.layers[1].mlp.fc1
    name = "base_model.model.vision_model.encoder.layers.1.mlp.fc1"
    np.testing.assert_array_equal(stored[f"{name}.lora_A.weight"], ops.convert_to_numpy(layer.lora_kernel_a).T)
    np.testing.assert_array_equal(stored[f"{name}.lora_B.weight"], ops.convert_to_numpy(layer.lora_kernel_b).T)
    table = "base_model.model.text_model.embeddings.token_embedding"
    assert stored[f"{table}.lora_embedding_A"].shape == (2, DISTINCT.text_config.vocab_size)
    assert stored[f"{table}.lora_embedding_B"].shape == (DISTINCT.text_config.hidden_size, 2)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "bfloat16"])
def test_merging_is_exact_and_leaves_the_model_as_it_is(tmp_path, dtype):
    model = adapted(dtype=dtype)
    before, expected = values(model), logits(model)
    model.save_pretrained(tmp_path)
    for path, value in values(model).items():
        np.testing.assert_array_equal(value, before[path])
    np.testing.assert_array_equal(logits(model), expected)
    layer, plain = model.text_model.encoder.layers[0].self_attn.v_proj, TFCLIPModel(DISTINCT, seed=3, dtype=dtype)
    wide = [ops.convert_to_numpy(ops.cast(part, "float32")) for part in (layer.lora_kernel_a, layer.lora_kernel_b)]
    kernel = ops.convert_to_numpy(ops.cast(plain.text_model.encoder.layers[0].self_attn.v_proj.kernel, "float32"))
    loaded = TFCLIPModel.from_pretrained(tmp_path, dtype=dtype)
    found = loaded.text_model.encoder.layers[0].self_attn.v_proj.kernel
    assert found.dtype == plain.text_projection.kernel.dtype
    tolerance = 2**-8 if dtype == "bfloat16" else 1e-6  # one rounding of the sum to the dtype of the weights
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(found, "float32")), kernel + 2.5 * wide[0] @ wide[1], rtol=tolerance, atol=1e-6
    )
    if dtype == "float32":
        np.testing.assert_allclose(logits(loaded), expected, atol=1e-5)


def test_keras_files_keep_the_bits_of_a_mixed_policy(tmp_path):
    model = adapted(dtype="mixed_bfloat16")
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.keras")
    plain = TFCLIPModel(DISTINCT, seed=5, dtype="mixed_bfloat16")
    plain.load_weights(tmp_path / "model.weights.h5")
    model.save_pretrained(tmp_path / "merged")
    wanted = TFCLIPModel.from_pretrained(tmp_path / "merged")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for got in (plain, loaded):
        pair = [clip.text_model.encoder.layers[0].self_attn.v_proj for clip in (got, wanted)]
        kernels = [getattr(layer, "_kernel", None) for layer in pair]
        np.testing.assert_array_equal(*(ops.convert_to_numpy(kernel) for kernel in kernels))


def test_loading_weights_into_a_model_with_lora_leaves_it_able_to_learn(tmp_path):
    model, other = adapted(), TFCLIPModel(DISTINCT, seed=7)
    other.save_weights(tmp_path / "other.weights.h5")
    model.load_weights(tmp_path / "other.weights.h5")
    np.testing.assert_allclose(logits(model), logits(other), atol=1e-5)
    factors = {path: np.abs(value).max() for path, value in values(model).items() if "lora" in path}
    assert all((size > 0) == path.endswith("_a") for path, size in factors.items())


def test_what_would_be_lost_is_refused(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3)
    with pytest.raises(InputError, match="save_adapter: expected LoRA"):
        model.save_adapter(tmp_path / "adapter")
    model.enable_lora(2)
    model.logit_scale.trainable = True
    with pytest.raises(InputError, match="nothing else that is trained, got .*logit_scale. Call enable_lora before"):
        model.save_adapter(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()
    with pytest.raises(InputError, match="expected a layer without LoRA, or of rank 3 and alpha 3, got rank 2"):
        model.enable_lora(3)
    with pytest.raises(InputError, match="targets: expected ends .* fc1, .*, got query"):
        model.enable_lora(2, targets=["q_proj", "query"])
    with pytest.raises(InputError, match="rank: expected 1 or more, got 0"):
        model.enable_lora(0)


def test_adapters_of_other_models_and_kinds_are_refused(tmp_path):
    adapted().save_adapter(tmp_path)
    with pytest.raises(WeightMismatchError, match=r"\+ base_model\.model\.text_model.*of no layer of the model"):
        TFCLIPVisionModelWithProjection(DISTINCT.vision_config).load_adapter(tmp_path)
    file = tmp_path / "adapter_config.json"
    config = json.loads(file.read_text())
    for change in ({"peft_type": "IA3"}, {"use_dora": True}, {"bias": "all"}, {"modules_to_save": ["head"]}):
        file.write_text(json.dumps(config | change))
        with pytest.raises(CheckpointFormatError, match="expected LoRA whose factors are all that it has, got"):
            TFCLIPModel(DISTINCT).load_adapter(tmp_path)
