"""Dense layers in int8: near the float32 ones, and never a number where those have none."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clip_core.tests.sizes import DISTINCT, RESNET
from clip_torch import CLIPModel
from clip_torch.int8 import Int8Linear, to_int8
from clip_torch.layers import EncoderLayer


def test_a_weight_is_rounded_by_at_most_half_a_step_of_its_row():
    layer = nn.Linear(24, 18)
    with torch.no_grad():
        layer.weight[3] *= 100
        layer.weight[5] = 0
    rounded = Int8Linear(layer)
    steps = layer.weight.abs().amax(dim=1, keepdim=True) / 127
    assert ((rounded.weight - layer.weight).abs() <= steps * 0.5001).all()
    assert torch.equal(rounded.bias, layer.bias)
    x = torch.randn(5, 7, 24, generator=torch.Generator().manual_seed(3))
    noise = rounded(x) - F.linear(x, rounded.weight, layer.bias)  # of the input's rounding alone
    step = (x.max() - x.min()) / 127
    assert (noise.abs() <= 0.5001 * step * rounded.weight.abs().sum(dim=1) + 1e-4).all()
    assert Int8Linear(nn.Linear(24, 18, bias=False)).bias is None


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_no_number_stays_none(value):
    layer = nn.Linear(24, 18)
    x = torch.randn(2, 3, 24)
    x[1, 2, 4] = value
    assert not Int8Linear(layer)(x).isfinite().any()
    with torch.no_grad():
        layer.weight[7, 2] = value
    assert not Int8Linear(layer)(torch.randn(3, 24))[:, 7].isfinite().any()


@pytest.mark.parametrize("config", [DISTINCT, RESNET], ids=["vit", "resnet"])
def test_the_blocks_of_both_towers_are_int8_and_nothing_else(config):
    model = CLIPModel(config)
    to_int8(model)
    changed = {path for path, layer in model.named_modules() if isinstance(layer, Int8Linear)}
    blocks = {path for path, part in model.named_modules() if isinstance(part, EncoderLayer)}
    names = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
    assert changed == {f"{block}.{name}" for block in blocks for name in names}
    model.check_saveable()
