"""Single layers of a ResNet tower: convolutions, the stem with its stride, batch normalisation, attention pooling."""

import numpy as np
import pytest

from conformance_tests import oracle_resnet
from conformance_tests.adapter import flat, from_grid, to_grid
from conformance_tests.ladder.test_layers import ADVERSARIAL, noise
from conformance_tests.oracle_layers import Weights

CONVOLUTIONS = ("conv2", "layer1.0.conv1", "layer2.0.conv2", "layer2.1.conv3", "layer4.0.downsample.0")
NORMS = ("bn1", "bn3", "layer1.0.bn1", "layer2.1.bn2", "layer4.2.bn3", "layer3.0.downsample.1")


@pytest.mark.parametrize("leaf", CONVOLUTIONS)
def test_convolution(backend, resnet, model_of, compare, leaf):
    """Those of stride 1, which keep the size of the image."""
    path = f"vision_model.{leaf}"
    x = noise(2, resnet.weights[f"{path}.weight"].shape[1], 6, 5)
    expected, _ = oracle_resnet.convolution(Weights(resnet.weights), path, x.astype(np.float64))
    got = backend.call(model_of(resnet), path, to_grid(backend, x))
    compare.close("layers", path, {"output": from_grid(backend, got)}, {"output": expected})


@pytest.mark.parametrize("measure", ADVERSARIAL)
@pytest.mark.parametrize("leaf", NORMS)
def test_batch_norm(backend, resnet, model_of, compare, leaf, measure):
    """By running statistics."""
    path = f"vision_model.{leaf}"
    x = ADVERSARIAL[measure](2, len(resnet.weights[f"{path}.weight"]), 3, 4)
    expected, _ = oracle_resnet.batch_norm(Weights(resnet.weights), path, x.astype(np.float64), False)
    got = backend.call(model_of(resnet), path, to_grid(backend, x))
    compare.close("layers", path, {"output": from_grid(backend, got)}, {"output": expected})


@pytest.mark.parametrize("size", [(12, 8), (13, 8), (12, 11), (15, 9)], ids=str)
def test_stem(backend, resnet, model_of, compare, size):
    """Of sizes that tell on which side of the image a stride begins, and which pixels a pooling leaves out."""
    x = noise(2, resnet.config.vision_config.num_channels, *size)
    expected, _ = oracle_resnet.stem(Weights(resnet.weights), "vision_model", x.astype(np.float64))
    got = backend.call(model_of(resnet), "vision_model.stem", to_grid(backend, x))
    compare.close("layers", f"stem of {size}", {"output": from_grid(backend, got)}, {"output": expected})


@pytest.mark.parametrize("weights_wanted", [False, True])
@pytest.mark.parametrize("size", [None, (5, 2)], ids=["trained size", "another"])
def test_attention_pooling(backend, resnet, model_of, compare, size, weights_wanted):
    """Both ways, with and without attention weights, and on a grid whose positions are resampled."""
    config = resnet.config.vision_config
    rows, columns = size or (config.patches_per_side, config.patches_per_side)
    x = noise(2, config.hidden_size, rows, columns)
    pooled, weights, _ = oracle_resnet.pooled_by_attention(Weights(resnet.weights), config, x.astype(np.float64))
    got = backend.call(model_of(resnet), "vision_model.attnpool", to_grid(backend, x), weights_wanted)
    expected = {"0": pooled, "1": weights} if weights_wanted else {"0": pooled}
    compare.close("layers", "attnpool", flat(got, backend.to_array), expected)
