"""Run by `test_sharding` in a process of its own with eight virtual CPU devices: prints the largest differences."""

import sys
from dataclasses import replace

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from clip_flax import FlaxCLIPModel
from clip_flax.tests.sharded_forward import CONFIG

RULES = {"vocab": None, "head": "model", "mlp": "model", "embed": "model"}
SHORT = replace(CONFIG, vision_config=replace(CONFIG.vision_config, num_hidden_layers=1))


def main(directory):
    jax.config.update("jax_disable_most_optimizations", True)
    FlaxCLIPModel(SHORT, seed=3).save_pretrained(directory)
    plain = FlaxCLIPModel.from_pretrained(directory)
    ids = np.array([[58, *range(row, row + 5), 60] for row in range(8)])
    pixels = np.random.default_rng(0).standard_normal((8, 3, 30, 30), np.float32)
    loss = jax.jit(jax.value_and_grad(lambda model, ids, pixels: model(ids, pixels, return_loss=True).loss))
    outputs = jax.jit(lambda model, ids, pixels: model(ids, pixels, return_dict=False))
    words = jax.jit(lambda model, ids: model.get_text_features(ids))

    def on(mesh):
        split = NamedSharding(mesh, P("data"))
        model = FlaxCLIPModel.from_pretrained(directory, mesh=mesh, sharding=RULES)
        kernel = model.vision_model.encoder.layers[0].mlp.fc1.kernel[...]
        assert kernel.sharding == NamedSharding(mesh, P(None, "model"))
        return model, jax.device_put(ids, split), jax.device_put(pixels, split)

    def compare(name, got, expected):
        pairs = zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
        print(name, max(float(np.abs(np.asarray(value) - np.asarray(wanted)).max()) for value, wanted in pairs))

    expected = words(plain, ids)
    for shape in ((2, 1), (1, 4)):
        mesh = jax.make_mesh(shape, ("data", "model"), devices=jax.devices()[: np.prod(shape)])
        model, ids_there, _ = on(mesh)
        got = words(model, ids_there)
        assert got.sharding == NamedSharding(mesh, P("data", None))
        compare(shape, got, expected)

    mesh = jax.make_mesh((2, 4), ("data", "model"))
    model, ids_there, pixels_there = on(mesh)
    compare("loss and gradients", loss(model, ids_there, pixels_there), loss(plain, ids, pixels))
    compare("not compiled", model.get_text_features(ids_there), expected)
    with jax.set_mesh(mesh):
        got = outputs(model, ids[:3], pixels_there)
    assert got[0].sharding == NamedSharding(mesh, P("data", None))  # [image, text]
    compare("other numbers of texts and images, the mesh in use", got, outputs(plain, ids[:3], pixels))
    model.save_pretrained(f"{directory}/again")
    compare("saved", FlaxCLIPModel.from_pretrained(f"{directory}/again").params, plain.params)


if __name__ == "__main__":
    main(*sys.argv[1:])
