"""The gradient of the loss by every weight."""

import numpy as np
import pytest

from conformance_tests.cases import full_inputs

SMALLEST_SCALE = 1e-3
"""Of the largest gradient: fields below it (key biases have none, in exact arithmetic) are measured against it."""


@pytest.mark.parametrize("masked", [False, True])
def test_gradients(backend, case, model_of, compare, masked):
    inputs = full_inputs(case.config, 4, 4)
    if not masked:
        del inputs["attention_mask"]
    expected = case.oracle.gradients(inputs)
    floor = SMALLEST_SCALE * max(np.abs(value).max() for value in expected.values())
    got = backend.gradients(model_of(case), inputs)
    compare.close("gradients", "masked" if masked else "unmasked", got, expected, floor=floor)


def test_every_weight_has_a_gradient(base):
    """In the reference, so that a backend which stops one somewhere cannot agree."""
    gradients = base.oracle.gradients(full_inputs(base.config, 4, 4))
    assert set(gradients) == set(base.weights)
    idle = {name for name, value in gradients.items() if np.abs(value).max() < 1e-9}
    assert all(name.endswith("k_proj.bias") for name in idle)  # moves all scores of a query alike
