"""Weights have names for their axes, by which they are put on a mesh; calls work on meshes of either kind."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from flax import nnx
from flax.core.spmd import logical_axis_rules
from jax.sharding import Mesh, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from clip_core.errors import InputError, InputTypeError
from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPModel
from clip_flax.sharding import LOGICAL_AXES

SIZES = {  # of DISTINCT, per tower
    "text_model": {"vocab": 61, "token": 11, "hidden": 24, "head": 24, "mlp": 52, "embed": 18},
    "vision_model": {"token": 17, "hidden": 20, "head": 20, "embed": 18},
}


@pytest.fixture
def mesh():
    return Mesh(np.array(jax.devices()[:1]), ("data",))


def test_every_weight_names_its_axes(model):
    with logical_axis_rules([(name, name.upper()) for name in LOGICAL_AXES]):
        specs = nnx.get_partition_spec(nnx.state(model)).flat_state()
    named = {".".join(map(str, path)): spec.get_raw_value() for path, spec in specs}
    shapes = {".".join(map(str, path)): leaf.shape for path, leaf in nnx.state(model).flat_state()}
    assert named["text_model.encoder.layers.1.self_attn.q_proj.kernel"] == P("HIDDEN", "HEAD")
    assert named["text_model.encoder.layers.1.self_attn.q_proj.bias"] == P("HEAD")
    assert named["vision_model.encoder.layers.2.self_attn.out_proj.kernel"] == P("HEAD", "HIDDEN")
    assert named["vision_model.encoder.layers.0.mlp.fc2.bias"] == P("HIDDEN")
    assert named["vision_model.embeddings.patch_embedding.kernel"] == P(None, None, None, "HIDDEN")
    assert named["vision_model.embeddings.class_embedding"] == P("HIDDEN")
    assert named["logit_scale"] == P()
    assert all(len(named[name]) == len(shape) for name, shape in shapes.items())
    for name, spec in named.items():
        sizes = SIZES.get(name.split(".")[0], {})
        for size, axis in zip(shapes[name], spec, strict=True):
            assert sizes.get(str(axis).lower(), size) == size, name


def test_names_stay_with_params_and_a_mesh_in_use_does_not_move_weights(model, mesh):
    with jax.set_mesh(mesh):
        made = FlaxCLIPModel(DISTINCT, seed=3)
    assert nnx.get_partition_spec(nnx.state(made)) == nnx.get_partition_spec(nnx.state(model))
    assert nnx.get_partition_spec(nnx.state(model.with_params(made.params))) == nnx.get_partition_spec(nnx.state(model))


def test_weights_are_put_by_a_sharding(model, assert_same):
    there = SingleDeviceSharding(jax.devices()[0])
    placed = FlaxCLIPModel.from_pretrained("triclip-emoji", sharding=there, dtype="bfloat16")
    assert {leaf.sharding for leaf in jax.tree.leaves(placed.params)} == {there}
    assert_same(placed.params, FlaxCLIPModel.from_pretrained("triclip-emoji", dtype="bfloat16").params, atol=0)


def test_wrong_placements_are_refused(mesh):
    for options, error, message in (
        ({"mesh": "data"}, InputTypeError, "mesh: expected a jax.sharding.Mesh, got str"),
        ({"mesh": mesh, "sharding": 3}, InputTypeError, "expected a dict from logical axes.*got int"),
        ({"sharding": {"mlp": "data"}}, InputError, "expected mesh=, too"),
        ({"mesh": mesh, "sharding": {"heads": "data"}}, InputError, "logical axes vocab, token, .*got 'heads'"),
        ({"mesh": mesh, "sharding": [("mlp", "model")]}, InputError, "axes of the mesh, data, got 'model' for 'mlp'"),
        ({"mesh": mesh, "sharding": SingleDeviceSharding(jax.devices()[0])}, InputError, "which has its own"),
    ):
        with pytest.raises(error, match=message):
            FlaxCLIPModel(DISTINCT, **options)


def test_explicit_meshes_of_two_four_and_eight_devices(tmp_path):
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "clip_flax.tests.spread_forward", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    differences = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert len(differences) == 6
    assert all(float(difference) < 1e-4 for difference in differences.values()), differences
    assert float(differences["saved"]) == 0
