"""Keras' frameworks among one another: what one saved the next loads, with the same numbers before and after training.

TensorFlow runs here, the others in a process each. The ladder climbs under them too: make test-keras-jax, -torch.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from clip_core.config import CLIPConfig
from clip_core.tests import sizes
from clip_tf import TFCLIPModel


def shallow(**changes):
    """The sizes of tests, with a block in each tower."""
    text, vision = (
        replace(part, num_hidden_layers=1, **changes)
        for part in (sizes.DISTINCT.text_config, sizes.DISTINCT.vision_config)
    )
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=18)


DISTINCT, DROPPING = shallow(), shallow(attention_dropout=0.4)
ENDS = DISTINCT.text_config.eos_token_id
INPUTS = {
    "input_ids": np.array([[5, 7, ENDS], [3, ENDS, 0], [9, 8, ENDS], [1, 2, ENDS]], np.int32),
    "pixel_values": np.random.default_rng(0).standard_normal((4, 3, 30, 30), dtype=np.float32),
}
MASKED = {**INPUTS, "attention_mask": np.array([[1, 1, 1], [1, 1, 0], [1, 1, 1], [1, 1, 1]], np.int32)}


def logits(model):
    return keras.ops.convert_to_numpy(model(INPUTS).logits_per_image)


def trained(model):
    """Losses of three steps and the logits after them."""
    model.compile(keras.optimizers.Adam(1e-3), jit_compile=keras.backend.backend() == "jax")
    history = model.fit(INPUTS, batch_size=4, epochs=3, verbose=0).history["loss"]
    return history, logits(model).tolist()


def with_dropout(checkpointing):
    keras.utils.set_random_seed(7)
    model = TFCLIPModel(DROPPING, seed=3)
    if checkpointing:
        model.gradient_checkpointing_enable()
    return trained(model)


PROGRAM = """
import json, sys
from pathlib import Path
import keras
source, folder = map(Path, sys.argv[1:])
from clip_core.errors import InputError
from clip_tf.model import TFCLIPModel
from clip_tf.tests import test_frameworks as tests
found = {"tensorflow": "tensorflow" in sys.modules}
model = keras.models.load_model(source)
found["loaded"] = tests.logits(model).tolist()
model.save(folder / "model.keras")
named = model.input_signature
symbolic = keras.Model(named, model(named).logits_per_image)
found["symbolic"] = [list(symbolic.output_shape), keras.ops.convert_to_numpy(symbolic(tests.MASKED)).tolist()]
try:
    model.export(str(folder / "saved_model"), verbose=False)
except InputError as error:
    found["export"] = str(error)
found["trained"] = tests.trained(model)
found["dropout"] = [tests.with_dropout(checkpointing) for checkpointing in (False, True)]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def model():
    return TFCLIPModel(DISTINCT, seed=3)


@pytest.fixture(scope="module")
def found(model, tmp_path_factory):
    """What each framework has of the file that the one before it saved."""
    folder = tmp_path_factory.mktemp("tensorflow")
    model.save(folder / "model.keras")
    results = {"model": model, "masked": model(MASKED).logits_per_image, "trained": trained(copy_of(model))}
    for name in ("jax", "torch"):
        source, folder = folder / "model.keras", tmp_path_factory.mktemp(name)
        environment = os.environ | {
            "KERAS_BACKEND": name,
            "JAX_PLATFORMS": "cpu",
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        }
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, source, folder],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr[-3000:]
        results[name] = json.loads(run.stdout.splitlines()[-1]) | {"folder": folder}
    return results


def copy_of(model):
    return TFCLIPModel(DISTINCT, weights=model.named_weights())


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_what_another_framework_saved_has_the_same_numbers(model, found, name):
    assert not found[name]["tensorflow"], "Keras on another framework needs no TensorFlow"
    np.testing.assert_allclose(found[name]["loaded"], logits(model), atol=1e-5)
    np.testing.assert_array_equal(logits(keras.models.load_model(found[name]["folder"] / "model.keras")), logits(model))


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_training_takes_the_same_steps(found, name):
    """Ids come twice in a batch: TensorFlow's slices of their gradients are added before they are squared."""
    for got, wanted in zip(found[name]["trained"], found["trained"], strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-4)
    plain, recomputed = found[name]["dropout"]
    np.testing.assert_allclose(recomputed[0], plain[0], rtol=1e-5)
    assert abs(plain[0][0] - found["trained"][0][0]) > 1e-3, "nothing was dropped"


@pytest.mark.parametrize("name", ["jax", "torch"])
def test_symbolic_inputs_of_any_length(found, name):
    shape, values = found[name]["symbolic"]
    assert shape == [None, None]
    np.testing.assert_allclose(values, found["masked"], atol=1e-5)


def test_jax_exports_for_any_batch_and_length_and_torch_says_how(found):
    import tensorflow as tf

    loaded = tf.saved_model.load(found["jax"]["folder"] / "saved_model")
    np.testing.assert_allclose(loaded.serve(MASKED)["logits_per_image"], found["masked"], atol=1e-5)
    assert loaded.serve({name: value[:2] for name, value in MASKED.items()})["logits_per_image"].shape == (2, 2)
    assert "torch.export.export(model" in found["torch"]["export"]
