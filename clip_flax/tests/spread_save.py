"""Run by `test_saving` in two processes, each of which holds half of every matrix: both save."""

import sys

import jax

from clip_core.errors import CheckpointError
from clip_flax import FlaxCLIPModel
from clip_flax.tests.sharded_forward import CONFIG


def main(process, port, path):
    jax.config.update("jax_platforms", "cpu")
    jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=int(process))
    model = FlaxCLIPModel(CONFIG, seed=3, mesh=jax.make_mesh((2,), ("model",)), sharding={"hidden": "model"})
    assert not model.params["text_projection"]["kernel"].is_fully_addressable
    model.save_pretrained(path, max_shard_size="20KB")
    failure = None
    try:
        model.save_pretrained(f"{path}/config.json/inside")  # of a file
    except Exception as error:
        failure = error
    assert failure is not None
    assert jax.process_index() == 0 or type(failure) is CheckpointError


if __name__ == "__main__":
    main(*sys.argv[1:])
