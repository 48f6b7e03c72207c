"""Run by `test_loss` in a process of its own with eight virtual CPU devices: prints relative differences, line by line.

Loss and gradients of eight pairs, split over devices, against those on one.
"""

from dataclasses import replace

import jax
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from clip_flax import FlaxCLIPModel
from clip_flax.tests.sharded_forward import CONFIG


def difference(got, expected):
    """The largest difference of a loss, or of its gradients, to the expected ones, relative to the largest of those."""
    loss, gradients = ([np.asarray(leaf) for leaf in jax.tree.leaves(part)] for part in got)
    expected_loss, expected_gradients = ([np.asarray(leaf) for leaf in jax.tree.leaves(part)] for part in expected)
    largest = max(np.abs(leaf).max() for leaf in expected_gradients)
    apart = max(np.abs(a - b).max() for a, b in zip(gradients, expected_gradients, strict=True))
    return max(apart / largest, abs(loss[0] / expected_loss[0] - 1))


def main():
    model = FlaxCLIPModel(replace(CONFIG, vision_config=replace(CONFIG.vision_config, num_hidden_layers=1)))
    ids = np.array([[58, *range(row, row + 5), 60] for row in range(8)])
    pixels = np.random.default_rng(0).standard_normal((8, 3, 30, 30), np.float32)

    def loss(params, ids, pixels, axis_name=None):
        return model(ids, pixels, params=params, return_loss=True, axis_name=axis_name).loss

    def inside(params, ids, pixels, axis_name):
        value, gradients = jax.value_and_grad(loss)(params, ids, pixels, axis_name)
        return value, jax.lax.pmean(gradients, axis_name)

    def split(function, shape, axis_name="data", check_vma=True):
        names = ("data", "fsdp")[: len(shape)]
        mesh = Mesh(np.array(jax.devices()[: np.prod(shape)]).reshape(shape), names)
        return jax.shard_map(
            lambda *arguments: function(*arguments, axis_name),
            mesh=mesh,
            in_specs=(P(), P(axis_name), P(axis_name)),
            out_specs=P(),
            check_vma=check_vma,
        )

    def on_pmap(params, ids, pixels):
        shards = ids.reshape(2, 4, 7), pixels.reshape(2, 4, 3, 30, 30)
        mapped = jax.pmap(lambda *shard: inside(params, *shard, "data"), "data", devices=jax.devices()[:2])(*shards)
        return jax.tree.map(lambda leaf: leaf[1], mapped)

    programs = {
        "2 devices, gradient inside": jax.jit(split(inside, (2,))),
        "4 devices, unchecked": jax.jit(jax.value_and_grad(split(loss, (4,), check_vma=False))),
        "8 devices": jax.jit(jax.value_and_grad(split(loss, (8,)))),
        "8 devices, two axes": jax.jit(jax.value_and_grad(split(loss, (4, 2), ("data", "fsdp")))),
        "2 devices, pmap": on_pmap,
    }
    expected = jax.jit(jax.value_and_grad(loss))(model.params, ids, pixels)
    for name, program in programs.items():
        print(name, difference(program(model.params, ids, pixels), expected))


if __name__ == "__main__":
    assert jax.device_count() == 8
    main()
