"""Orbax: states of our JAX models and of training, saved and restored; what came back compared with what was saved."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"  # before JAX starts: four devices

import jax
import numpy as np
import optax
import orbax.checkpoint as orbax
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec

from clip_flax import FlaxCLIPModel
from conformance_tests.clients.checkpoints import tiny_checkpoint
from conformance_tests.clients.trial import trial

_SPLIT = {"head": "model", "mlp": "model", "vocab": "data"}
_OTHERWISE = {"hidden": "data", "embed": "model"}


def _model(directory: Path, **keywords: Any) -> Any:
    sizes = {"intermediate_size": 36}  # so that two devices can share it
    checkpoint = tiny_checkpoint(directory / "clip", text=sizes, vision=sizes)
    return FlaxCLIPModel.from_pretrained(checkpoint, **keywords)


def _mesh(*sizes: int) -> Any:
    return jax.make_mesh(sizes, ("data", "model"))


def _batch() -> dict[str, Any]:
    random = np.random.default_rng(0)
    ids = random.integers(0, 400, (4, 9), np.int32)
    ids[:, 7:] = 49407
    return {"input_ids": ids, "pixel_values": random.normal(size=(4, 3, 30, 30)).astype(np.float32)}


def _values(*trees: Any) -> list[Any]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(trees)]


def _saved(directory: Path, tree: Any) -> Path:
    with orbax.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory / "saved", tree)
    return directory / "saved"


def _restored(path: Path, like: Any) -> Any:
    with orbax.StandardCheckpointer() as checkpointer:
        found = checkpointer.restore(path, like)
    for leaf, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(like), strict=True):
        assert wanted.sharding is None or leaf.sharding.is_equivalent_to(wanted.sharding, leaf.ndim), leaf.sharding
    return found


@trial("nnx.state, restored into a model of other weights")
def _(directory: Path) -> Any:
    model = _model(directory)
    other = FlaxCLIPModel(model.config, seed=1)
    nnx.update(other, _restored(_saved(directory, nnx.state(model)), nnx.state(other)))
    return _values(nnx.state(other), other(**_batch())), _values(nnx.state(model), model(**_batch()))


@trial("nnx.state in bfloat16, restored into nnx.eval_shape of a model, without weights before")
def _(directory: Path) -> Any:
    model = _model(directory, dtype="bfloat16")
    graph, abstract = nnx.split(nnx.eval_shape(lambda: FlaxCLIPModel(model.config, dtype="bfloat16")))
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(abstract))
    other = nnx.merge(graph, _restored(_saved(directory, nnx.state(model)), abstract))
    texts = {"input_ids": _batch()["input_ids"]}
    return [
        [np.float32(value) for value in _values(nnx.state(each), each.get_text_features(**texts))]
        for each in (other, model)
    ]


@trial("model.params, restored without being told a structure, as params= of a call")
def _(directory: Path) -> Any:
    model = _model(directory)
    found = orbax.StandardCheckpointer().restore(_saved(directory, model.params))
    blank = FlaxCLIPModel(model.config, _do_init=False)
    return _values(blank(**_batch(), params=found)), _values(model(**_batch()))


@trial("split over a mesh of 2 x 2 devices, restored over one of 4 x 1 that splits other axes")
def _(directory: Path) -> Any:
    model = _model(directory, mesh=_mesh(2, 2), sharding=_SPLIT)
    path, mesh = _saved(directory, nnx.state(model)), _mesh(4, 1)
    like = FlaxCLIPModel(model.config, mesh=mesh, sharding=_OTHERWISE)
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding), nnx.state(like)
    )
    nnx.update(like, _restored(path, placed))
    kernel = like.text_model.encoder.layers[0].self_attn.q_proj.kernel[...]
    assert kernel.sharding.spec[0] == "data", kernel.sharding
    return _values(nnx.state(like)), _values(nnx.state(model))


@trial("split over 2 x 2 devices by nnx.get_partition_spec and rules, restored whole on one device")
def _(directory: Path) -> Any:
    model, mesh = _model(directory), _mesh(2, 2)
    graph, state = nnx.split(model)
    names = nnx.get_partition_spec(state)
    spread = jax.tree.map(
        lambda leaf, axes: jax.device_put(leaf, NamedSharding(mesh, PartitionSpec(*map(_SPLIT.get, axes)))),
        state,
        names,
    )
    one = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.devices()[1])
        ),
        state,
    )
    other = nnx.merge(graph, _restored(_saved(directory, spread), one))
    return _values(nnx.state(other)), _values(state)


def _trained(model: Any, optimizer: Any, steps: range) -> list[Any]:
    @nnx.jit
    def step(model: Any, optimizer: Any, batch: Any) -> Any:
        loss, gradients = nnx.value_and_grad(lambda model: model(**batch, return_loss=True).loss)(model)
        optimizer.update(model, gradients)
        return loss

    return [np.asarray(step(model, optimizer, _batch())) for _ in steps]


def _optimizer(model: Any) -> Any:
    rate = optax.warmup_cosine_decay_schedule(0.0, 1e-2, 2, 6)
    return nnx.Optimizer(model, optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate)), wrt=nnx.Param)


@trial("CheckpointManager: model and optax state after two of five steps; the rest of the steps, and what they end in")
def _(directory: Path) -> Any:
    model = _model(directory)
    optimizer, like = _optimizer(model), FlaxCLIPModel(model.config, seed=1)
    whole = _optimizer(like)
    options = orbax.CheckpointManagerOptions(max_to_keep=2, save_interval_steps=1)
    with orbax.CheckpointManager(directory / "run", options=options) as manager:
        losses = []
        for number in range(5):
            losses += _trained(model, optimizer, range(1))
            state = {"model": nnx.state(model), "optimizer": nnx.state(optimizer)}
            if number == 1:
                manager.save(number, args=orbax.args.StandardSave(state))
        manager.wait_until_finished()
        state = {"model": nnx.state(like), "optimizer": nnx.state(whole)}
        found = manager.restore(manager.latest_step(), args=orbax.args.StandardRestore(state))
    nnx.update(like, found["model"])
    nnx.update(whole, found["optimizer"])
    again = _trained(like, whole, range(3))
    ended = [_values(nnx.state(each), nnx.state(other)) for each, other in ((like, whole), (model, optimizer))]
    return [*again, *ended[0]], [*losses[2:], *ended[1]]


@trial("adapters alone: the state of nnx.LoRAParam, restored into another model with adapters")
def _(directory: Path) -> Any:
    model, other = _model(directory), _model(directory)
    for seed, each in enumerate((model, other)):
        for layer in each.text_model.encoder.layers:
            query, rngs = layer.self_attn.q_proj, nnx.Rngs(seed)
            width = query.in_features
            layer.self_attn.q_proj = nnx.LoRA(
                width, 3, width, base_module=query, rngs=rngs, b_initializer=nnx.initializers.ones
            )
    before = np.asarray(other(**_batch()).logits_per_text)
    nnx.update(other, _restored(_saved(directory, nnx.state(model, nnx.LoRAParam)), nnx.state(other, nnx.LoRAParam)))
    after = _values(other(**_batch()))
    assert not np.array_equal(before, after[1])
    return after, _values(model(**_batch()))


@trial("weights of another configuration are an error")
def _(directory: Path) -> None:
    model = _model(directory)
    path = _saved(directory, nnx.state(model))
    other = FlaxCLIPModel(type(model.config)(text_config=model.config.text_config.to_dict() | {"num_hidden_layers": 4}))
    try:
        _restored(path, nnx.state(other))
    except ValueError:
        return
    raise AssertionError("weights of five blocks went into four")
