"""Every bottleneck and every stage of a ResNet tower, on images that come from nowhere."""

import numpy as np
import pytest

from conformance_tests import oracle_resnet
from conformance_tests.adapter import from_grid, to_grid
from conformance_tests.ladder.test_layers import noise
from conformance_tests.oracle_layers import Weights

STAGES = (1, 2, 3, 4)


def image(case, number):
    """Of odd sizes, with as many channels as the stage takes."""
    return noise(2, case.weights[f"vision_model.layer{number}.0.conv1.weight"].shape[1], 7, 9)


@pytest.mark.parametrize("number", STAGES)
def test_bottleneck(backend, resnet, model_of, compare, number):
    x = image(resnet, number)
    for index in range(resnet.config.vision_config.stage_depths[number - 1]):
        path = f"vision_model.layer{number}.{index}"
        stride = 2 if number > 1 and index == 0 else 1
        expected, _ = oracle_resnet.bottleneck(Weights(resnet.weights), path, x.astype(np.float64), stride)
        got = from_grid(backend, backend.call(model_of(resnet), path, to_grid(backend, x)))
        compare.close("blocks", path, {"output": got}, {"output": expected})
        x = expected.astype(np.float32) / np.float32(np.abs(expected).max())


@pytest.mark.parametrize("number", STAGES)
def test_stage(backend, resnet, model_of, compare, number):
    x, config = image(resnet, number), resnet.config.vision_config
    expected, _ = oracle_resnet.stage(Weights(resnet.weights), config, number, x.astype(np.float64))
    got = backend.call(model_of(resnet), "vision_model.stage", number, to_grid(backend, x))
    compare.close("blocks", f"stage {number}", {"output": from_grid(backend, got)}, {"output": expected})
