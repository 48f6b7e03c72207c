"""What is exported by default runs in other runtimes, at any batch size and text length."""

import numpy as np
import pytest
import tensorflow as tf

from clip_tf import TFCLIPModel
from clip_tf.tests.test_frameworks import DISTINCT, MASKED


@pytest.mark.filterwarnings(r"ignore:\s*Warning. tf.lite.Interpreter is deprecated")
def test_litert(tmp_path):
    model = TFCLIPModel(DISTINCT, seed=3)
    model.export(str(tmp_path / "model.tflite"), format="litert", verbose=False)
    run = tf.lite.Interpreter(model_path=str(tmp_path / "model.tflite")).get_signature_runner()
    for count, length in ((4, 3), (2, 2)):
        batch = {name: value[-count:, :length].copy() for name, value in MASKED.items() if name != "pixel_values"}
        batch["input_ids"][:, length - 1] = DISTINCT.text_config.eos_token_id
        batch["pixel_values"] = MASKED["pixel_values"][-count:]
        expected = model(batch)
        for name, value in run(**batch).items():
            np.testing.assert_allclose(value, expected[name], atol=1e-5)
