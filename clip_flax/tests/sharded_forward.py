"""Run by `test_at_home` in a process of its own with eight virtual CPU devices: prints the largest differences.

Batches are split over the mesh axis ``data``, attention heads and MLP columns over ``model``; what each layer owns of
the mesh is said by the caller, as for any Flax model.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_flax import FlaxCLIPModel

CONFIG = CLIPConfig(
    text_config=CLIPTextConfig(
        vocab_size=61, hidden_size=24, intermediate_size=40, num_hidden_layers=1, num_attention_heads=4,
        max_position_embeddings=9, bos_token_id=58, eos_token_id=60,
    ),
    vision_config=CLIPVisionConfig(
        hidden_size=32, intermediate_size=44, num_hidden_layers=2, num_attention_heads=4, image_size=30, patch_size=7,
    ),
    projection_dim=12,
)  # fmt: skip
COLUMNS, ROWS = ("q_proj", "k_proj", "v_proj", "fc1"), ("out_proj", "fc2")


def partition(path, leaf):
    """How tensor parallelism splits a weight: columns of the first of two dense layers, rows of the second."""
    names = [str(getattr(key, "key", key)) for key in path]
    if any(name in COLUMNS for name in names):
        return PartitionSpec(*[None] * (leaf.ndim - 1), "model")
    if any(name in ROWS for name in names) and leaf.ndim == 2:
        return PartitionSpec("model", None)
    return PartitionSpec()


def main():
    assert jax.device_count() == 8
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ("data", "model"))
    model = FlaxCLIPModel(CONFIG)
    ids = np.array([[58, *range(row, row + 5), 60] for row in range(8)])
    pixels = np.random.default_rng(0).standard_normal((8, 3, 30, 30), np.float32)
    graph, state = nnx.split(model)
    forward = jax.jit(lambda state, ids, pixels: nnx.merge(graph, state)(ids, pixels, return_loss=True))
    expected = forward(state, ids, pixels)
    features = model.get_text_features(ids)

    batch = NamedSharding(mesh, PartitionSpec("data"))
    ids, pixels = jax.device_put(ids, batch), jax.device_put(pixels, batch)
    split = jax.tree_util.tree_map_with_path(lambda path, leaf: NamedSharding(mesh, partition(path, leaf)), state)
    assert sum(not sharding.is_fully_replicated for sharding in jax.tree.leaves(split)) == 3 * 10
    for name, sharding in (("replicated", NamedSharding(mesh, PartitionSpec())), ("tensor parallel", split)):
        output = forward(jax.device_put(state, sharding), ids, pixels)
        assert output.text_model_output.last_hidden_state.sharding.spec[0] == "data"
        differences = jax.tree.map(lambda a, b: float(jnp.abs(np.asarray(a) - np.asarray(b)).max()), output, expected)
        print(name, max(jax.tree.leaves(differences)))
    eager = nnx.merge(graph, jax.device_put(state, split)).get_text_features(ids)
    print("not compiled", float(jnp.abs(np.asarray(eager) - np.asarray(features)).max()))


if __name__ == "__main__":
    main()
