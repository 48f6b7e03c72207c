"""Run by `test_saving` in two processes, each of which holds half of every matrix: both save."""

import sys

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from clip_flax import FlaxCLIPModel
from clip_flax.tests.sharded_forward import CONFIG


def main(process, port, path):
    jax.config.update("jax_platforms", "cpu")
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(process))
    mesh = Mesh(np.array(jax.devices()), ("model",))
    model = FlaxCLIPModel(CONFIG, seed=3)

    def spread(leaf):
        spec = P(*[None] * (leaf.ndim - 1), "model") if leaf.ndim and leaf.shape[-1] % 2 == 0 else P()
        return jax.make_array_from_callback(leaf.shape, NamedSharding(mesh, spec), np.asarray(leaf).__getitem__)

    nnx.update(model, jax.tree.map(spread, nnx.state(model)))
    assert not model.params["text_projection"]["kernel"].is_fully_addressable
    model.save_pretrained(path, max_shard_size="20KB")


if __name__ == "__main__":
    main(*sys.argv[1:])
