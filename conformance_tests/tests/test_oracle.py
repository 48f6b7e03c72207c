"""The reference against transformers in float64: they share no code, so what they agree on is CLIP."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from clip_core.errors import ConfigError
from conformance_tests import oracle_layers
from conformance_tests.adapter import flat
from conformance_tests.cases import CONFIGS, full_inputs, named_case, pixel_inputs, text_inputs
from conformance_tests.ladder.test_names import GOLDEN
from conformance_tests.oracle import end_of_text

EXACT = 1e-11
"""Of a field's scale: both are float64, and differ by the order of summation (measured: up to 2.3e-13)."""
SOFTMAX_FLOAT32 = 1e-6
"""transformers' eager attention, which returns attentions, has its softmax in float32 (measured: up to 2.4e-7)."""


@pytest.fixture(autouse=True)
def _float64():
    """transformers makes its causal mask in torch's default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def upstream(case, attention):
    config = transformers.CLIPConfig(**json.loads(case.config.to_json_string(use_diff=False)))
    config._attn_implementation = attention
    model = transformers.CLIPModel._from_config(config, attn_implementation=attention).double().eval()
    missing = model.load_state_dict({name: torch.from_numpy(value).double() for name, value in case.weights.items()})
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    return model


def tensors(inputs):
    return {
        name: torch.from_numpy(value).double() if value.dtype == np.float32 else torch.from_numpy(value)
        for name, value in inputs.items()
    }


def assert_close(got, expected, limit, floor=0.0):
    assert set(got) == set(expected)
    for name, value in expected.items():
        scale = max(np.abs(value).max(), floor)
        assert np.abs(got[name] - value).max() <= limit * scale, name


def upstream_fields(output):
    """Every array of an upstream output by its dotted name."""
    return flat({key: _plain(value) for key, value in output.items()}, lambda tensor: tensor.detach().numpy())


def _plain(value):
    return dict(value.items()) if isinstance(value, transformers.utils.ModelOutput) else value


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", CONFIGS)
def test_every_output(name, masked):
    case = named_case(name)
    inputs = full_inputs(case.config, 3, 3) | text_inputs(case.config.text_config, 3, positions=True)
    if not masked:
        del inputs["attention_mask"]
    flags = {"return_loss": True, "output_hidden_states": True, "output_attentions": True}
    got = flat(case.oracle.outputs(inputs), np.asarray)
    assert_close(got, upstream_fields(upstream(case, "eager")(**tensors(inputs), **flags)), SOFTMAX_FLOAT32)
    expected = upstream_fields(upstream(case, "sdpa")(**tensors(inputs), return_loss=True))
    assert_close({key: got[key] for key in expected}, expected, EXACT)


@pytest.mark.parametrize("name", CONFIGS)
def test_gradients(name):
    case = named_case(name)
    inputs = full_inputs(case.config, 4, 4)
    model = upstream(case, "sdpa")
    model(**tensors(inputs), return_loss=True).loss.backward()
    expected = {key: parameter.grad.numpy() for key, parameter in model.named_parameters()}
    largest = max(np.abs(value).max() for value in expected.values())
    assert_close(case.oracle.gradients(inputs), expected, EXACT, floor=1e-3 * largest)


@pytest.mark.parametrize("size", [(35, 35), (14, 14), (35, 14), (15, 48)])
def test_interpolated(size):
    case = named_case("base")
    pixels = pixel_inputs(case.config.vision_config, 2, size=size)
    model = upstream(case, "sdpa").vision_model
    expected = model(torch.from_numpy(pixels).double(), interpolate_pos_encoding=True).last_hidden_state
    got = case.oracle.vision(pixels)["last_hidden_state"]
    assert_close({"": got}, {"": expected.detach().numpy()}, EXACT)


@pytest.mark.parametrize("size", [(5, 5), (12, 12), (9, 5), (7, 7), (1, 20)])
def test_resampling_is_that_of_torch(size):
    grid = np.random.default_rng(0).standard_normal((7, 7, 3))
    channels_first = torch.from_numpy(grid).permute(2, 0, 1)[None]
    expected = functional.interpolate(channels_first, size=size, mode="bicubic", align_corners=False)[0]
    got, _ = oracle_layers.resample(grid, *size)
    np.testing.assert_allclose(got, expected.permute(1, 2, 0).numpy(), atol=1e-12)


@pytest.mark.parametrize("size", [(14, 14), (35, 22)])
def test_gradients_through_resampling(size):
    case = named_case("base")
    pixels = pixel_inputs(case.config.vision_config, 3, size=size)
    inputs = text_inputs(case.config.text_config, 3) | {"pixel_values": pixels}
    model = upstream(case, "sdpa")
    model(**tensors(inputs), return_loss=True, interpolate_pos_encoding=True).loss.backward()
    name = "vision_model.embeddings.position_embedding.weight"
    expected = dict(model.named_parameters())[name].grad.numpy()
    assert_close({name: case.oracle.gradients(inputs)[name]}, {name: expected}, EXACT)


def test_golden_names():
    config = transformers.CLIPConfig(**json.loads(CONFIGS["base"].to_json_string(use_diff=False)))
    state = transformers.CLIPModel(config).state_dict()
    assert sorted(f"{name} {list(value.shape)}" for name, value in state.items()) == GOLDEN.read_text().splitlines()


def test_the_reference_does_not_pool_a_true_end_of_2_at_the_largest_id():
    config = dataclasses.replace(CONFIGS["legacy"].text_config, vocab_size=901629)
    with pytest.raises(ConfigError, match="2 stands for the largest id"):
        end_of_text(np.array([[0, 901, 2]]), config)
