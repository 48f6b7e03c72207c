"""The gradient of the loss by every weight."""

import numpy as np

from conformance_tests.cases import full_inputs, pixel_inputs, text_inputs

SMALLEST_SCALE = 1e-2
"""Of the largest gradient: fields below it (key biases have none, in exact arithmetic) are measured against it."""


def test_gradients(backend, case, model_of, compare):
    inputs = full_inputs(case.config, 3, 3)
    expected = case.oracle.gradients(inputs)
    floor = SMALLEST_SCALE * max(np.abs(value).max() for value in expected.values())
    got = backend.gradients(model_of(case), inputs)
    compare.close("gradients", case.name, got, expected, floor=floor)


def test_gradients_through_resampled_positions(backend, base, model_of, compare):
    """Images of another size than the trained one."""
    config = base.config.vision_config
    size = (config.patch_size * (config.patches_per_side + 1), config.image_size)
    inputs = {**text_inputs(base.config.text_config, 3), "pixel_values": pixel_inputs(config, 3, size=size)}
    expected = base.oracle.gradients(inputs)
    floor = SMALLEST_SCALE * max(np.abs(value).max() for value in expected.values())
    got = backend.gradients(model_of(base), inputs, interpolate_pos_encoding=True)
    compare.close("gradients", "resampled", got, expected, floor=floor)


def test_every_weight_has_a_gradient(base):
    """In the reference, so that a backend which stops one somewhere cannot agree."""
    gradients = base.oracle.gradients(full_inputs(base.config, 3, 3))
    assert set(gradients) == set(base.weights)
    idle = {name for name, value in gradients.items() if np.abs(value).max() < 1e-9}
    assert all(name.endswith("k_proj.bias") for name in idle)  # moves all scores of a query alike
