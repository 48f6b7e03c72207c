"""A model of Keras on JAX keeps its weights when a batch is refused: Keras holds them elsewhere meanwhile."""

import os
import subprocess
import sys

PROGRAM = """
import keras, numpy as np
from clip_tf.tests.test_trainer import BAD, DISTINCT, INPUTS, InputError, TFCLIPModel, dataset

model = TFCLIPModel(DISTINCT, seed=3)
model.compile(keras.optimizers.Adam(0.1), jit_compile=False)
before = [keras.ops.convert_to_numpy(weight) for weight in model.weights]
for method in (model.predict, model.fit):
    try:
        method(dataset(BAD[1][0]), verbose=0)
    except InputError:
        print("refused")
for weight, wanted in zip(model.weights, before, strict=True):
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), wanted)
assert np.isfinite(model.fit(dataset(INPUTS), shuffle=False, verbose=0).history["loss"][0])
"""


def test_weights_stay_where_the_first_batch_is_refused():
    environment = os.environ | {"KERAS_BACKEND": "jax", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # compiles sooner
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("refused") == 2
