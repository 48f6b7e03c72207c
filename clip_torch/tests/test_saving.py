"""What `save_pretrained` writes, and what it refuses to lose."""

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from clip_core.errors import WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_torch import CLIPModel

IDS = torch.tensor([[5, 7, DISTINCT.text_config.eos_token_id]])


class LowRank(nn.Module):
    """A linear layer with an adapter, as peft wraps it."""

    def __init__(self, base):
        super().__init__()
        self.base_layer = base
        self.lora_a = nn.Linear(base.in_features, 2, bias=False)
        self.lora_b = nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self):
        return self.base_layer.weight

    @property
    def bias(self):
        return self.base_layer.bias

    def forward(self, x):
        return self.base_layer(x) + self.lora_b(self.lora_a(x))


class WithHead(CLIPModel):
    def __init__(self, config, **options):
        super().__init__(config, **options)
        self.head = nn.Linear(18, 3)


def with_adapter():
    model = CLIPModel(DISTINCT)
    attention = model.text_model.encoder.layers[0].self_attn
    attention.q_proj = LowRank(attention.q_proj)
    return model


def with_bias():
    model = CLIPModel(DISTINCT)
    model.text_projection = nn.Linear(24, 18, bias=True)
    return model


def with_more_tokens():
    model = CLIPModel(DISTINCT)
    model.text_model.embeddings.token_embedding = nn.Embedding(DISTINCT.text_config.vocab_size + 3, 24)
    return model


def without_last_layer():
    model = CLIPModel(DISTINCT)
    del model.text_model.encoder.layers[-1]
    return model


def quantised():
    model = CLIPModel(DISTINCT)
    model.text_projection.weight = nn.Parameter(torch.zeros(18, 24, dtype=torch.int8), requires_grad=False)
    return model


def with_normalised_head():
    model = CLIPModel(DISTINCT)
    model.head = parametrizations.weight_norm(nn.Linear(6, 5, bias=False))
    return model


def with_mask():
    model = CLIPModel(DISTINCT)
    model.register_buffer("token_mask", torch.ones(3))
    return model


def on_meta():
    with torch.device("meta"):
        return CLIPModel(DISTINCT)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: WithHead(DISTINCT), r"\+ head\.weight \[3, 18\]: has no place in a checkpoint"),
        (with_adapter, r"\+ text_model\.encoder\.layers\.0\.self_attn\.q_proj\.lora_a\.weight \[2, 24\]"),
        (with_normalised_head, r"\+ head\.parametrizations\.weight\.original0 \[5, 1\]: has no place"),
        (with_mask, r"\+ token_mask \[3\]: has no place"),
        (with_bias, r"\+ text_projection\.bias \[18\]: has no place"),
        (with_more_tokens, r"\+ text_model\.embeddings\.token_embedding\.weight \[\d+, 24\]: in the model"),
        (without_last_layer, r"- text_model\.encoder\.layers\.\d\.layer_norm1\.weight \[24\]: cannot be read"),
        (quantised, r"\+ text_projection\.weight \[18, 24\]: in the model, int8"),
        (on_meta, r"- logit_scale \[\]: cannot be read: it lies on the meta device"),
    ],
)
def test_what_would_be_lost_is_named_and_nothing_is_written(tmp_path, make, line):
    with pytest.raises(WeightMismatchError, match=line):
        make().save_pretrained(tmp_path / "checkpoint")
    assert not (tmp_path / "checkpoint").exists()


def test_more_tokens_are_saved_with_a_configuration_that_says_so(tmp_path):
    model = with_more_tokens()
    vocab_size = DISTINCT.text_config.vocab_size + 3
    model.config = dataclasses.replace(
        DISTINCT, text_config=dataclasses.replace(DISTINCT.text_config, vocab_size=vocab_size)
    )
    model.save_pretrained(tmp_path)
    assert CLIPModel.from_pretrained(tmp_path).config.text_config.vocab_size == vocab_size


@pytest.mark.parametrize("change", ["parametrization", "pruning"])
def test_computed_weights_are_saved_as_they_are_used(tmp_path, change):
    class Doubled(nn.Module):
        def forward(self, x):
            return 2 * x

    model = CLIPModel(DISTINCT).eval()
    if change == "parametrization":
        parametrize.register_parametrization(model.text_projection, "weight", Doubled())
    else:
        prune.random_unstructured(model.text_projection, "weight", 0.5)
    model.save_pretrained(tmp_path)
    expected = model.get_text_features(IDS)
    torch.testing.assert_close(CLIPModel.from_pretrained(tmp_path).get_text_features(IDS), expected, rtol=0, atol=0)


def test_pruned_weights_are_saved_as_they_were_trained(tmp_path):
    model = CLIPModel(DISTINCT).eval()
    prune.random_unstructured(model.text_projection, "weight", 0.5)
    with torch.no_grad():
        model.text_projection.weight_orig.add_(
            1
        )  # as an optimiser step does; torch makes `weight` anew when it is called
    model.save_pretrained(tmp_path)
    expected = model.get_text_features(IDS)
    torch.testing.assert_close(CLIPModel.from_pretrained(tmp_path).get_text_features(IDS), expected, rtol=0, atol=0)


def test_named_weights_are_a_snapshot():
    model = CLIPModel(DISTINCT)
    before = dict(model.named_weights())["text_projection.weight"]
    with torch.no_grad():
        model.text_projection.weight.add_(1)
    assert not (before == model.named_weights()["text_projection.weight"]).any()


def test_offloaded_weights_are_read_from_where_they_lie(tmp_path):
    class Hook:  # what accelerate puts on a module whose weights it has moved away
        weights_map = None

    model = CLIPModel(DISTINCT, seed=5)
    hook = Hook()
    hook.weights_map = {"weight": model.text_projection.weight.detach().clone()}
    model.text_projection.weight = nn.Parameter(torch.empty(18, 24, device="meta"))
    model.text_projection._hf_hook = hook
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(
        CLIPModel.from_pretrained(tmp_path).text_projection.weight.detach(), hook.weights_map["weight"]
    )


SHARDED = """
import os, sys, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from clip_torch.tests.test_saving import PIXELS, SEED, TEXTS, CLIPModel, DISTINCT, trained
rank, store, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
model = CLIPModel(DISTINCT, seed=SEED)
fully_shard(model, mesh=init_device_mesh("cpu", (2,)), ignored_params={model.logit_scale})
trained(model, TEXTS.chunk(2)[rank], PIXELS.chunk(2)[rank], dist.group.WORLD)
try:
    model.save_pretrained(directory + "-of-two-models")
except ValueError as error:
    assert "+ logit_scale []: differs between processes" in str(error), error
model = CLIPModel(DISTINCT, seed=SEED)
fully_shard(model, mesh=init_device_mesh("cpu", (2,)), ignored_params={model.logit_scale})
model.logit_scale.register_hook(lambda gradient: dist.all_reduce(gradient) or gradient / 2)
trained(model, TEXTS.chunk(2)[rank], PIXELS.chunk(2)[rank], dist.group.WORLD)
try:
    model.save_pretrained(directory, max_shard_size="lots")
except ValueError:
    pass
model.save_pretrained(directory, max_shard_size="20KB")
dist.destroy_process_group()
os._exit(0)  # Gloo's threads outlive the group while a mesh refers to it, and may abort the interpreter's own end
"""
SEED = 5
TEXTS = torch.tensor([[5, 7, 60], [9, 3, 60], [1, 60, 60], [8, 8, 60]])
PIXELS = torch.randn(4, 3, 30, 30, generator=torch.Generator().manual_seed(0))


def trained(model, texts, pixels, group=None):
    model(texts, pixels, return_loss=True, group=group).loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.5).step()
    return model


def test_a_model_that_is_spread_over_processes_trains_and_is_saved_as_one_that_is_not(tmp_path):
    arguments = [str(tmp_path / "store"), str(tmp_path / "checkpoint")]
    processes = [subprocess.Popen([sys.executable, "-c", SHARDED, str(rank), *arguments]) for rank in range(2)]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    assert not (tmp_path / "checkpoint-of-two-models").exists()
    loaded = CLIPModel.from_pretrained(tmp_path / "checkpoint").state_dict()
    for name, value in trained(CLIPModel(DISTINCT, seed=SEED), TEXTS, PIXELS).state_dict().items():
        torch.testing.assert_close(loaded[name], value, rtol=1e-5, atol=1e-5)
