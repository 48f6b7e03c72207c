"""The gradient of the loss by every parameter, in evaluation mode; of training mode see ``test_statistics``."""

import numpy as np

from clip_core.weights import weight_specs
from conformance_tests.cases import full_inputs, pixel_inputs, text_inputs

SMALLEST_SCALE = 1e-2
"""Of the largest gradient: fields below it (key biases have none, in exact arithmetic) are measured against it."""


def test_gradients(backend, case, model_of, compare):
    inputs = full_inputs(case.config, 3, 3)
    expected = case.oracle.gradients(inputs)
    floor = SMALLEST_SCALE * max(np.abs(value).max() for value in expected.values())
    got = backend.gradients(model_of(case), inputs)
    compare.close("gradients", case.name, got, expected, floor=floor)


def test_gradients_through_resampled_positions(backend, each_tower, model_of, compare):
    """Images of another size than the trained one."""
    config = each_tower.config.vision_config
    size = (config.patch_size * (config.patches_per_side + 1), config.image_size)
    inputs = {**text_inputs(each_tower.config.text_config, 3), "pixel_values": pixel_inputs(config, 3, size=size)}
    expected = each_tower.oracle.gradients(inputs)
    floor = SMALLEST_SCALE * max(np.abs(value).max() for value in expected.values())
    got = backend.gradients(model_of(each_tower), inputs, interpolate_pos_encoding=True)
    compare.close("gradients", "resampled", got, expected, floor=floor)


def test_every_weight_has_a_gradient(each_tower):
    """In the reference, so that a backend which stops one somewhere cannot agree."""
    gradients = each_tower.oracle.gradients(full_inputs(each_tower.config, 3, 3))
    assert set(gradients) == {spec.name for spec in weight_specs(each_tower.config) if spec.is_parameter}
    idle = {name for name, value in gradients.items() if np.abs(value).max() < 1e-9}
    assert all(name.endswith("k_proj.bias") for name in idle)  # moves all scores of a query alike
