"""The contrastive loss of pairs that are split over processes."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from clip_core.tests.sizes import DISTINCT
from clip_torch import CLIPModel

PAIRS = 8

SPLIT = """
import sys, numpy as np, torch, torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from clip_core.tests.sizes import DISTINCT
from clip_torch import CLIPModel
rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
inputs = {name: torch.from_numpy(value).chunk(world)[rank] for name, value in np.load(f"{folder}/inputs.npz").items()}
model = CLIPModel(DISTINCT, seed=3)
parallel = DistributedDataParallel(model)
loss = parallel(**inputs, return_loss=True, group=dist.group.WORLD).loss
loss.backward()
found = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
np.savez(f"{folder}/{rank}.npz", loss=loss.detach().numpy(), **found)
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize("processes", [2, 4, 8])
def test_loss_and_gradients_are_those_of_one_process_with_all_pairs(tmp_path, processes):
    text, side = DISTINCT.text_config, DISTINCT.vision_config.image_size
    generator = np.random.default_rng(0)
    ids = generator.integers(0, text.eos_token_id, (PAIRS, 7))
    ids[:, -1] = text.eos_token_id
    pixels = generator.standard_normal((PAIRS, DISTINCT.vision_config.num_channels, side, side), np.float32)
    np.savez(tmp_path / "inputs.npz", input_ids=ids, pixel_values=pixels)

    model = CLIPModel(DISTINCT, seed=3)
    loss = model(torch.from_numpy(ids), torch.from_numpy(pixels), return_loss=True).loss
    loss.backward()

    scale = max(parameter.grad.abs().max().item() for parameter in model.parameters())

    arguments = [str(processes), str(tmp_path)]
    running = [subprocess.Popen([sys.executable, "-c", SPLIT, str(rank), *arguments]) for rank in range(processes)]
    assert [process.wait(timeout=300) for process in running] == [0] * processes
    for rank in range(processes):
        found = np.load(tmp_path / f"{rank}.npz")
        assert found["loss"] == pytest.approx(loss.item(), rel=1e-6)
        for name, parameter in model.named_parameters():
            np.testing.assert_allclose(found[name], parameter.grad.numpy(), rtol=1e-5, atol=1e-5 * scale, err_msg=name)
