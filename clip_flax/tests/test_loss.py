"""The contrastive loss inside mapped axes, where each device has some of the pairs."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from clip_core.errors import InputError
from clip_flax import contrastive_loss


@pytest.fixture(scope="module")
def logits():
    return np.random.default_rng(1).standard_normal((6, 6), np.float32)


def test_over_two_four_and_eight_devices_it_is_that_of_one_with_its_gradients():
    environment = os.environ | {
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # as in this process
    }
    command = [sys.executable, "-m", "clip_flax.tests.global_loss"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    differences = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert len(differences) == 5
    assert all(float(difference) <= 1e-5 for difference in differences.values()), differences


def test_over_a_named_axis_of_vmap(logits):
    rows = logits.reshape(3, 2, 6)  # two texts each, six images
    split = jax.vmap(lambda rows: contrastive_loss(rows, "data"), axis_name="data")
    np.testing.assert_allclose(split(rows), np.full(3, contrastive_loss(logits)), rtol=1e-6)
    whole = jax.grad(contrastive_loss)(logits)
    gradients = jax.grad(lambda rows: split(rows).mean())(rows)
    np.testing.assert_allclose(gradients.reshape(6, 6), whole, atol=1e-7)


MAPPED = {
    "vmap": lambda loss: jax.vmap(loss, axis_name="data"),
    "pmap": lambda loss: jax.pmap(loss, axis_name="data"),
    "shard_map": lambda loss: jax.shard_map(
        lambda logits: loss(logits[0])[None],
        mesh=Mesh(np.array(jax.devices()[:1]), ("data",)),
        in_specs=P("data"),
        out_specs=P("data"),
    ),
}


@pytest.mark.parametrize("mapped", MAPPED)
def test_inside_a_mapped_axis_it_wants_to_know_whose_pairs(logits, mapped):
    refused = r"axis_name: expected the mapped axis.*\['data'\], got None.*Pass axis_name='data', or axis_name=\(\)"
    with pytest.raises(InputError, match=refused):
        MAPPED[mapped](contrastive_loss)(logits[None])
    alone = MAPPED[mapped](lambda logits: contrastive_loss(logits, ()))(logits[None])
    np.testing.assert_allclose(alone[0], contrastive_loss(logits), rtol=1e-6)


def test_the_model_refuses_too_where_a_loss_is_asked_for(model, inputs):
    stacked = jax.tree.map(lambda leaf: np.asarray(leaf)[None], inputs)

    def call(return_loss):
        return jax.vmap(lambda inputs: model(**inputs, return_loss=return_loss)[0], axis_name="data")(stacked)

    assert call(False).shape == (1, 3, 3)
    with pytest.raises(InputError, match="axis_name: expected the mapped axis"):
        call(True)


def test_without_a_named_axis_vmap_gives_each_batch_its_own(logits):
    batches = np.stack([logits, logits[::-1]])
    separate = [contrastive_loss(batch) for batch in batches]
    np.testing.assert_allclose(jax.vmap(contrastive_loss)(batches), separate, rtol=1e-6)


def test_counts_of_all_devices_are_compared(logits):
    with pytest.raises(InputError, match="expected as many images as texts, in pairs, got 6 and 4"):
        jax.vmap(lambda rows: contrastive_loss(rows, "data"), axis_name="data")(logits.reshape(2, 3, 6)[:, :2])
