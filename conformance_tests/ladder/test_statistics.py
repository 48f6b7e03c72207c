"""Batch normalisation in training mode: three steps of training, with all weights and running statistics after them.

It normalises with the batch's own statistics, through which gradients pass, and keeps a tenth of the batch's mean and
unbiased variance.
"""

from dataclasses import replace

import numpy as np
import pytest

from clip_core.errors import InputError
from conformance_tests.cases import Case, full_inputs, pixel_inputs, random_weights, text_inputs

STEP = 0.02
"""The largest change of a weight in the first step."""


def batches_of(case):
    """Three that differ."""
    return [
        {
            **text_inputs(case.config.text_config, 3, seed=seed),
            "pixel_values": pixel_inputs(case.config.vision_config, 3, seed=seed),
        }
        for seed in (11, 12, 13)
    ]


@pytest.mark.parametrize("recomputed", [False, True])
def test_three_steps(backend, resnet, compare, recomputed):
    """Blocks that are recomputed for their gradients see the batch twice, and count it once."""
    batches, trained = batches_of(resnet), backend.trained
    largest = max(float(np.abs(value).max()) for value in resnet.oracle.gradients(batches[0], training=True).values())
    model = backend.build("model", resnet.config, resnet.weights)
    if recomputed:
        model.gradient_checkpointing_enable()
    got = trained(model, batches, STEP / largest)
    expected = resnet.oracle.trained(batches, STEP / largest)
    counters = {name for name in expected if name.endswith("num_batches_tracked")}
    assert {int(got[name] - resnet.weights[name]) for name in counters} == {3}
    changes = [
        {name: value - resnet.weights[name] for name, value in weights.items() if name not in counters}
        for weights in (got, expected)
    ]
    compare.close("statistics", "recomputed" if recomputed else "three steps", *changes, floor=STEP)


def test_one_value_per_channel_has_no_variance(backend, resnet):
    config = replace(resnet.config, vision_config=replace(resnet.config.vision_config, image_size=32))
    small = Case("of one token", config, random_weights(config, seed=0))
    model = backend.build("model", small.config, small.weights)
    with pytest.raises(InputError, match="expected more than one image, or larger ones"):
        backend.trained(model, [full_inputs(config, 1, 1)], 0.1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_statistics_are_not_narrowed(backend, resnet, dtype):
    """By half precision, in which a variance can be infinite and a tenth of a new one nothing."""
    weights = backend.weights(backend.build("model", resnet.config, resnet.weights, dtype=dtype))
    for name in resnet.weights:
        if name.endswith((".running_mean", ".running_var", ".num_batches_tracked")):
            assert weights[name].dtype == resnet.weights[name].dtype
            np.testing.assert_array_equal(weights[name], resnet.weights[name])
