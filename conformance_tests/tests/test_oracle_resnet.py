"""The ResNet tower of the reference: its derivatives against differences, its layers against torch's in float64."""

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from conformance_tests import oracle_resnet
from conformance_tests.cases import full_inputs, named_case
from conformance_tests.oracle import vision_tower
from conformance_tests.oracle_layers import Weights

EXACT = 1e-11
STEP = 1e-8
"""Small, for a weight of the first convolution moves many places across the corner of ReLU."""


@pytest.fixture(scope="module")
def resnet():
    return named_case("resnet")


def noise(*shape):
    return np.random.default_rng(3).standard_normal(shape)


@pytest.mark.parametrize("training", [False, True])
def test_derivatives_are_those_of_differences(resnet, training):
    """Of a weighted sum of the pooled output, by one element of a weight of every kind and stage."""
    config, pixels = resnet.config.vision_config, full_inputs(resnet.config, 3, 3)["pixel_values"]
    factors = noise(3, config.hidden_size)

    def loss(stored):
        return float((vision_tower(Weights(stored), config, pixels, training)[0]["pooler_output"] * factors).sum())

    weights = Weights(resnet.weights)
    vision_tower(weights, config, pixels, training)[1](factors)
    names = [
        *(
            "conv1.weight",
            "bn1.weight",
            "conv2.weight",
            "bn3.bias",
            "layer1.0.conv1.weight",
            "layer1.0.downsample.0.weight",
        ),
        *("layer2.0.conv2.weight", "layer2.0.downsample.1.bias", "layer2.1.bn2.weight", "layer4.2.conv3.weight"),
        *("attnpool.positional_embedding", "attnpool.q_proj.weight", "attnpool.k_proj.weight", "attnpool.v_proj.bias"),
    ]
    for name in (f"vision_model.{name}" for name in names):
        value = resnet.weights[name].astype(np.float64)
        place = np.unravel_index(np.abs(weights.gradients[name]).argmax(), value.shape)
        ends = []
        for step in (STEP, -STEP):
            moved = value.copy()
            moved[place] += step
            ends.append(loss({**resnet.weights, name: moved}))
        difference = (ends[0] - ends[1]) / (2 * STEP)
        assert weights.gradients[name][place] == pytest.approx(difference, rel=1e-4), name


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(9, 6), (8, 7)])
def test_convolution_is_that_of_torch(resnet, stride, size):
    path = "vision_model.conv1"
    x = noise(2, 3, *size)
    kernel = torch.from_numpy(resnet.weights[f"{path}.weight"]).double()
    expected = functional.conv2d(torch.from_numpy(x), kernel, stride=stride, padding=1)
    got, _ = oracle_resnet.convolution(Weights(resnet.weights), path, x, stride)
    np.testing.assert_allclose(got, expected.numpy(), atol=EXACT)


def test_average_pool_is_that_of_torch():
    x = noise(2, 3, 7, 4)
    expected = functional.avg_pool2d(torch.from_numpy(x), 2).numpy()
    np.testing.assert_allclose(oracle_resnet.average_pool(x)[0], expected, atol=EXACT)


@pytest.mark.parametrize("training", [False, True])
def test_batch_norm_is_that_of_torch(resnet, training):
    path = "vision_model.bn1"
    x = noise(2, 5, 3, 4) * 2 + 1
    layer = torch.nn.BatchNorm2d(5).double().train(training)
    layer.load_state_dict(
        {
            name.removeprefix(f"{path}."): torch.from_numpy(value)
            for name, value in resnet.weights.items()
            if path in name
        }
    )
    expected = layer(torch.from_numpy(x))
    weights = Weights(resnet.weights)
    got, _ = oracle_resnet.batch_norm(weights, path, x, training)
    np.testing.assert_allclose(got, expected.detach().numpy(), atol=EXACT)
    after = {f"{path}.{name}": value.numpy() for name, value in layer.named_buffers()}
    assert set(weights.updates) == (set(after) if training else set())
    for name, value in weights.updates.items():
        np.testing.assert_allclose(value, after[name], atol=EXACT)


def test_attention_pooling_is_that_of_torch(resnet):
    """As OpenAI's code calls it: the attention of torch, queried by the mean token alone."""
    config = resnet.config.vision_config
    grid = noise(2, config.hidden_size, 3, 3)
    values = {
        name.removeprefix("vision_model.attnpool."): torch.from_numpy(value).double()
        for name, value in resnet.weights.items()
        if "attnpool" in name
    }
    tokens = torch.from_numpy(grid).flatten(2).permute(2, 0, 1)  # [token, batch, hidden]
    tokens = torch.cat([tokens.mean(0, keepdim=True), tokens]) + values["positional_embedding"][:, None]
    expected, attention = functional.multi_head_attention_forward(
        tokens[:1],
        tokens,
        tokens,
        embed_dim_to_check=config.hidden_size,
        num_heads=config.num_attention_heads,
        in_proj_weight=None,
        in_proj_bias=torch.cat([values[f"{name}_proj.bias"] for name in "qkv"]),
        bias_k=None,
        bias_v=None,
        add_zero_attn=False,
        dropout_p=0.0,
        out_proj_weight=torch.eye(config.hidden_size).double(),
        out_proj_bias=None,
        training=False,
        average_attn_weights=False,
        use_separate_proj_weight=True,
        q_proj_weight=values["q_proj.weight"],
        k_proj_weight=values["k_proj.weight"],
        v_proj_weight=values["v_proj.weight"],
    )
    got, weights, _ = oracle_resnet.pooled_by_attention(Weights(resnet.weights), config, grid)
    np.testing.assert_allclose(got, expected[0].numpy(), atol=EXACT)
    np.testing.assert_allclose(weights, attention.numpy(), atol=EXACT)


def test_three_steps_of_training_change_every_statistic(resnet):
    """By no idle update; and the counters count."""
    trained = resnet.oracle.trained([full_inputs(resnet.config, 3, 3)] * 3, 1e-3)
    for name, value in resnet.weights.items():
        if name.endswith("num_batches_tracked"):
            assert trained[name] == value + 3
        elif "running" in name:
            assert np.abs(trained[name] - value).max() > 1e-2, name


def test_transformers_refuses_such_a_configuration_by_its_own_error(resnet, tmp_path):
    """It would make a transformer of default sizes beside the right projection, and only warn of missing weights."""
    resnet.config.save_pretrained(tmp_path)
    config = transformers.CLIPConfig.from_pretrained(tmp_path)
    with pytest.raises(TypeError, match="NoneType"):
        transformers.CLIPModel(config)
    with pytest.raises(TypeError, match="NoneType"):
        transformers.CLIPVisionModel(config.vision_config)
