"""What is exported by default runs in other runtimes, at any batch size and text length."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from clip_tf import TFCLIPModel
from clip_tf.tests.test_frameworks import DISTINCT, MASKED

SIZES = ((4, 3), (2, 2))
"""Texts, also images, and tokens: none of them those that are exported."""


def check(run, model):
    for count, length in SIZES:
        batch = {name: value[-count:, :length].copy() for name, value in MASKED.items() if name != "pixel_values"}
        batch["input_ids"][:, length - 1] = DISTINCT.text_config.eos_token_id
        batch["pixel_values"] = MASKED["pixel_values"][-count:]
        expected, got = model(batch), run(batch)
        assert set(got) == {name for name in expected._fields if not isinstance(expected[name], tuple)}
        for name, value in got.items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5)


@pytest.mark.filterwarnings(r"ignore:\s*Warning. tf.lite.Interpreter is deprecated")
def test_litert(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3)
    model.export(str(tmp_path / "model.tflite"), format="litert", verbose=False)
    run = tf.lite.Interpreter(model_path=str(tmp_path / "model.tflite")).get_signature_runner()
    check(lambda batch: run(**batch), model)


@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # of tf2onnx
def test_onnx(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3)
    model.export(str(tmp_path / "model.onnx"), format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    check(lambda batch: dict(zip(names, session.run(None, batch), strict=True)), model)
