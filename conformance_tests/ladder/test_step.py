"""One step of the framework's own optimiser reaches every weight, by the right amount."""

import numpy as np
import pytest

from conformance_tests.cases import full_inputs
from conformance_tests.oracle import updated_weights


@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_step(backend, case, model_of, compare, rule):
    """Compared are changes of weights; Adam's epsilon is of the size of gradients, or it would amplify their noise.

    What no gradient changes stays as it is: the model is in evaluation mode, also its running statistics.
    The largest change is 0.5, so smaller ones than 0.1 are measured against that.
    """
    inputs = full_inputs(case.config, 3, 3)
    gradients = case.oracle.gradients(inputs)
    largest = max(float(np.abs(value).max()) for value in gradients.values())
    learning_rate, epsilon = 0.5 / largest if rule == "sgd" else 0.5, 0.1 * largest
    got = backend.step(model_of(case), inputs, rule, learning_rate, epsilon)
    expected = updated_weights(case.weights, gradients, rule, learning_rate, epsilon)
    compare.close(
        "step",
        rule,
        {name: value - case.weights[name] for name, value in got.items()},
        {name: value - case.weights[name] for name, value in expected.items()},
        floor=0.1,
    )
