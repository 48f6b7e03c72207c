"""Single layers, on inputs that show a wrong epsilon, a fast variance, a transposed kernel or a missing bias."""

from functools import cache

import numpy as np
import pytest

from conformance_tests import oracle_layers
from conformance_tests.adapter import flat
from conformance_tests.cases import exact_attention, pixel_inputs, text_inputs
from conformance_tests.oracle import text_embeddings, visible_keys, vision_embeddings
from conformance_tests.oracle_layers import Weights

NORMS = [
    *(f"{tower}.encoder.layers.0.layer_norm{number}" for tower in ("text_model", "vision_model") for number in (1, 2)),
    *("text_model.final_layer_norm", "vision_model.pre_layrnorm", "vision_model.post_layernorm"),
]
LINEARS = [
    *(f"self_attn.{name}_proj" for name in ("q", "k", "v", "out")),
    *("mlp.fc1", "mlp.fc2"),
]
FIRST_BLOCKS = ("text_model.encoder.layers.0", "vision_model.encoder.layers.0")


def noise(*shape, seed=5):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


ADVERSARIAL = {
    "layers": noise,
    "layers: std 1e-3": lambda *shape: noise(*shape) * np.float32(1e-3),
    "layers: mean 300": lambda *shape: noise(*shape) + np.float32(300),
    "layers: constant + 1e-4 noise": lambda *shape: np.float32(1) + np.float32(1e-4) * noise(*shape),
}


exact_attention_of = cache(exact_attention)


def tower_config(case, path):
    return case.config.text_config if path.startswith("text") else case.config.vision_config


def called(backend, model, path, *inputs):
    return {"output": backend.to_array(backend.call(model, path, *inputs))}


@pytest.mark.parametrize("measure", ADVERSARIAL)
@pytest.mark.parametrize("path", NORMS)
def test_layer_norm(backend, vit, model_of, compare, path, measure):
    config = tower_config(vit, path)
    x = ADVERSARIAL[measure](2, 3, config.hidden_size)
    expected, _ = oracle_layers.layer_norm(Weights(vit.weights), path, x.astype(np.float64), config.layer_norm_eps)
    compare.close(measure, path, called(backend, model_of(vit), path, x), {"output": expected})


@pytest.mark.parametrize("leaf", LINEARS)
@pytest.mark.parametrize("block", FIRST_BLOCKS)
def test_linear(backend, vit, model_of, compare, block, leaf):
    path = f"{block}.{leaf}"
    x = noise(2, 3, vit.weights[f"{path}.weight"].shape[1])
    expected, _ = oracle_layers.linear(Weights(vit.weights), path, x.astype(np.float64))
    compare.close("layers", path, called(backend, model_of(vit), path, x), {"output": expected})


@pytest.mark.parametrize("path", ["text_projection", "visual_projection"])
def test_projection(backend, case, model_of, compare, path):
    x = noise(3, case.weights[f"{path}.weight"].shape[1])
    biased = f"{path}.bias" in case.weights
    expected, _ = oracle_layers.linear(Weights(case.weights), path, x.astype(np.float64), bias=biased)
    compare.close("layers", path, called(backend, model_of(case), path, x), {"output": expected})


@pytest.mark.parametrize("block", FIRST_BLOCKS)
def test_mlp(backend, vit, model_of, compare, block):
    """Wide inputs reach the tails, where the three activations differ most."""
    path, config = f"{block}.mlp", tower_config(vit, block)
    x = noise(2, 3, config.hidden_size) * np.float32(2)
    expected, _ = oracle_layers.mlp(Weights(vit.weights), path, x.astype(np.float64), config.hidden_act)
    compare.close("layers", path, called(backend, model_of(vit), path, x), {"output": expected})


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weights_wanted", [False, True])
@pytest.mark.parametrize("block", FIRST_BLOCKS)
def test_attention(backend, vit, model_of, compare, block, weights_wanted, masked):
    """Both ways, with and without attention weights: they are different code where a fused kernel exists."""
    path, config = f"{block}.self_attn", tower_config(vit, block)
    x = noise(2, 5, config.hidden_size)
    visible = visible_keys(5, np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])) if masked else None
    output, weights = backend.call(model_of(vit), path, x, visible, weights_wanted)
    expected, expected_weights, _ = oracle_layers.attention(
        Weights(vit.weights), path, x.astype(np.float64), config.num_attention_heads, visible
    )
    compare.close("layers", path, {"output": backend.to_array(output)}, {"output": expected})
    if weights_wanted:
        compare.close("layers", path, {"weights": backend.to_array(weights)}, {"weights": expected_weights})
    else:
        assert weights is None


@pytest.mark.parametrize("weights_wanted", [False, True])
@pytest.mark.parametrize("step", [4, 256])
@pytest.mark.parametrize("block", FIRST_BLOCKS)
def test_attention_of_large_scores(backend, vit_base, model_of, compare, block, step, weights_wanted):
    """Up to 288 and a million, where exponentials overflow; some that are masked exceed all that are not."""
    case, path = exact_attention_of(vit_base), f"{block}.self_attn"
    config = tower_config(case, path)
    x = np.random.default_rng(7).integers(-3, 4, (2, 5, config.hidden_size)).astype(np.float32) * np.float32(step)
    visible = visible_keys(5, np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]))
    got = flat(backend.call(model_of(case), path, x, visible, weights_wanted), backend.to_array)
    output, weights, _ = oracle_layers.attention(
        Weights(case.weights), path, x.astype(np.float64), config.num_attention_heads, visible
    )
    compare.close("layers", path, got, {"0": output, "1": weights} if weights_wanted else {"0": output})


@pytest.mark.parametrize("positions", ["counted", "shared", "own"])
def test_text_embeddings(backend, case, model_of, compare, positions):
    """Positions counted from 0, the same for all texts, or each text's own."""
    ids = text_inputs(case.config.text_config, 3)["input_ids"]
    shift = {"counted": None, "shared": np.array([[1]]), "own": np.array([[0], [1], [0]])}[positions]
    counted = None if shift is None else np.arange(ids.shape[1]) + shift
    path = "text_model.embeddings"
    expected, _ = text_embeddings(Weights(case.weights), path, ids, counted)
    compare.close("layers", path, called(backend, model_of(case), path, ids, counted), {"output": expected})


def test_vision_embeddings(backend, vit, model_of, compare):
    path, config = "vision_model.embeddings", vit.config.vision_config
    pixels = pixel_inputs(config, 2)
    expected, _ = vision_embeddings(Weights(vit.weights), path, pixels, config)
    compare.close("layers", path, called(backend, model_of(vit), path, pixels), {"output": expected})
