"""Every transformer block, and the stack of them, on hidden states that come from nowhere."""

import numpy as np
import pytest

from conformance_tests import oracle
from conformance_tests.adapter import flat
from conformance_tests.oracle_layers import Weights

TOWERS = ("text_model", "vision_model")


def arguments(case, tower):
    """The tower's configuration, hidden states and the mask that the tower's blocks get."""
    config = case.config.text_config if tower == "text_model" else case.config.vision_config
    x = np.random.default_rng(6).standard_normal((2, 5, config.hidden_size)).astype(np.float32)
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    return config, x, oracle.visible_keys(5, mask) if tower == "text_model" else None


@pytest.mark.parametrize("tower", TOWERS)
def test_block(backend, vit, model_of, compare, tower):
    config, x, visible = arguments(vit, tower)
    for index in range(config.num_hidden_layers):
        path = f"{tower}.encoder.layers.{index}"
        got = flat(backend.call(model_of(vit), path, x, visible, True), backend.to_array)
        output, attention, _ = oracle.block(Weights(vit.weights), path, x.astype(np.float64), config, visible)
        compare.close("blocks", path, got, {"0": output, "1": attention})


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("tower", TOWERS)
def test_encoder(backend, vit, model_of, compare, tower, everything):
    config, x, visible = arguments(vit, tower)
    path = f"{tower}.encoder"
    output = backend.call(model_of(vit), path, x, visible, everything, everything)
    got = flat(tuple(output), backend.to_array)  # named or not
    states, attentions, _ = oracle.encoder(Weights(vit.weights), path, x.astype(np.float64), config, visible)
    expected = (states[-1], states, attentions) if everything else (states[-1],)
    compare.close("blocks", path, got, flat(expected, np.asarray))
