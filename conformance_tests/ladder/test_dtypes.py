"""Half precision: the reference gets the same rounded weights, so what is measured is arithmetic.

Logits and loss are float32; everything else has the dtype of the weights.
"""

import ml_dtypes
import numpy as np
import pytest

from conformance_tests.adapter import flat
from conformance_tests.cases import full_inputs
from conformance_tests.oracle import Oracle

NARROW = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}


@pytest.mark.parametrize("dtype", NARROW)
def test_outputs(backend, base, compare, dtype):
    model = backend.build("model", base.config, base.weights, dtype=dtype)
    rounded = {name: value.astype(NARROW[dtype]) for name, value in base.weights.items()}
    inputs = full_inputs(base.config, 3, 3)
    options = {"return_loss": True, "output_hidden_states": True, "output_attentions": True}
    got = flat(backend.call(model, "", **inputs, **options), backend.to_array)
    expected = flat(Oracle(base.config, rounded).outputs(inputs), np.asarray)
    wide = {name for name, value in got.items() if value.dtype == np.float32}
    assert wide == {"loss", "logits_per_image", "logits_per_text"}
    assert {value.dtype for name, value in got.items() if name not in wide} == {NARROW[dtype]}
    relative = {name: value for name, value in expected.items() if name != "loss"}  # which has no scale of its own
    compare.close(f"dtypes: {dtype}", base.name, {name: got[name] for name in relative}, relative)
