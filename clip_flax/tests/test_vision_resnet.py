"""Running statistics of a ResNet tower: beside the parameters, never under a gradient, never lost without a word."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx, serialization

from clip_core.config import CLIPVisionConfig
from clip_core.errors import InputError, WeightMismatchError
from clip_flax import FlaxCLIPVisionModelWithProjection, FlaxCLIPVisionModelWithProjectionModule

CONFIG = CLIPVisionConfig(
    stage_depths=(1, 1, 1, 1), hidden_size=128, num_attention_heads=4, image_size=64, projection_dim=18
)
PIXELS = np.random.default_rng(0).standard_normal((4, 3, 64, 64)).astype(np.float32)
NORM = "vision_model", "layer2", "0", "bn2"


@pytest.fixture(scope="module")
def model():
    return FlaxCLIPVisionModelWithProjection(CONFIG, seed=3)


def convert(source, destination, **options):
    """By the command: models do not know the converter."""
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    subprocess.run([sys.executable, "-m", "weights_convert", "convert", source, destination, *given], check=True)


def leaf(tree, *path):
    for name in path:
        tree = tree[name]
    return tree


def close(got, expected):
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_parameters_and_statistics_are_two_trees(model):
    assert set(leaf(model.params, *NORM)) == {"scale", "bias"}
    assert set(leaf(model.batch_stats, *NORM)) == {"mean", "var", "num_batches_tracked"}
    assert model.num_parameters() == sum(leaf.size for leaf in jax.tree.leaves(model.params))
    positions = model.params["vision_model"]["attnpool"]["positional_embedding"]
    assert model.num_parameters() - model.num_parameters(exclude_embeddings=True) == positions.size
    changed = jax.tree.map(lambda value: value + 2, model.batch_stats)
    other = nnx.clone(model)
    other.batch_stats = changed
    close(other.batch_stats, changed)
    assert not np.allclose(other(PIXELS).image_embeds, model(PIXELS).image_embeds)
    close(model(PIXELS, params=nnx.to_pure_dict(nnx.state(other))).image_embeds, other(PIXELS).image_embeds)
    with pytest.raises(WeightMismatchError, match=r"batch_stats.*(?s:.*)bn1.mean \[4\]: missing"):
        other.batch_stats = {}


def test_the_functional_form_trains_as_nnx_does(model):
    def loss_of(output):
        return jnp.square(output.image_embeds).mean()

    @partial(jax.jit)
    def step(params, batch_stats):
        def loss(params):
            output, new = model.call_and_update(params, batch_stats, PIXELS)
            return loss_of(output), new

        gradients, batch_stats = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, gradients), batch_stats

    @nnx.jit
    def nnx_step(learner, optimizer):
        optimizer.update(learner, nnx.grad(lambda learner: loss_of(learner(PIXELS)))(learner))

    before = model.batch_stats
    learner = nnx.clone(model)
    learner.train()
    optimizer = nnx.Optimizer(learner, optax.sgd(0.1), wrt=nnx.Param)
    params, batch_stats = model.params, model.batch_stats
    for _ in range(2):
        params, batch_stats = step(params, batch_stats)
        nnx_step(learner, optimizer)
    assert leaf(batch_stats, *NORM, "num_batches_tracked") == 2
    close(learner.batch_stats, batch_stats)
    close(learner.params, params)
    close(model.batch_stats, before)


def test_no_gradient_reaches_statistics(model):
    """In evaluation the output depends on them, so that one could."""

    def loss(statistics):
        other = nnx.clone(model)
        other.batch_stats = statistics
        return jnp.square(other(PIXELS).image_embeds).sum()

    gradients = jax.grad(loss, allow_int=True)(model.batch_stats)
    assert not any(np.any(value) for value in jax.tree.leaves(gradients) if value.dtype == np.float32)


def test_new_statistics_are_never_lost(model):
    with pytest.raises(InputError, match="new running statistics would be lost. Use output, batch_stats = model.call"):
        model(PIXELS, params=model.params, train=True)
    with pytest.raises(Exception, match="trace level"):
        jax.jit(lambda pixels: model(pixels, train=True).image_embeds)(PIXELS)
    bare = FlaxCLIPVisionModelWithProjection(CONFIG, _do_init=False)
    with pytest.raises(InputError, match="expected running statistics, since .*Set model.batch_stats"):
        bare(PIXELS, params=model.params)
    bare.batch_stats = model.batch_stats
    close(bare(PIXELS, params=model.params).image_embeds, model(PIXELS).image_embeds)


def test_a_tower_in_evaluation_keeps_its_statistics(model):
    """As in PyTorch, whatever trains beside it; the last of both calls counts."""
    learner = nnx.clone(model)
    learner.train()
    learner.vision_model.eval()
    close(learner(PIXELS).image_embeds, model(PIXELS).image_embeds)
    close(learner(PIXELS, params=learner.params).image_embeds, model(PIXELS).image_embeds)
    close(learner.batch_stats, model.batch_stats)
    learner.train()
    learner(PIXELS)
    assert leaf(learner.batch_stats, *NORM, "num_batches_tracked") == 1


def test_a_model_without_weights_has_the_statistics_of_its_checkpoint(model, tmp_path):
    learner = nnx.clone(model)
    learner(PIXELS, train=True)
    learner.save_pretrained(tmp_path)
    bare, params = FlaxCLIPVisionModelWithProjection.from_pretrained(tmp_path, _do_init=False)
    close(bare(PIXELS, params=params).image_embeds, learner(PIXELS).image_embeds)


def test_the_linen_module_has_them_as_a_collection(model):
    module = FlaxCLIPVisionModelWithProjectionModule(CONFIG)
    variables = {"params": model.params, "batch_stats": model.batch_stats}
    close(module.apply(variables, PIXELS).image_embeds, model(PIXELS).image_embeds)
    learner = nnx.clone(model)
    expected = learner(PIXELS, train=True)
    rngs = {"dropout": jax.random.key(0)}
    output, changed = module.apply(variables, PIXELS, deterministic=False, rngs=rngs, mutable=["batch_stats"])
    close(output.image_embeds, expected.image_embeds)
    close(changed["batch_stats"], learner.batch_stats)


def test_made_abstractly_and_half_as_wide(model):
    abstract = nnx.eval_shape(lambda: FlaxCLIPVisionModelWithProjection(CONFIG, seed=3))
    assert jax.tree.structure(nnx.state(abstract)) == jax.tree.structure(nnx.state(model))
    made = nnx.jit(lambda: FlaxCLIPVisionModelWithProjection(CONFIG, seed=3))()
    close(made.batch_stats, model.batch_stats)
    half = FlaxCLIPVisionModelWithProjection(CONFIG, seed=3, dtype="bfloat16")
    assert {str(value.dtype) for value in jax.tree.leaves(half.batch_stats)} == {"float32", "int32"}
    half(PIXELS, train=True)
    assert {str(value.dtype) for value in jax.tree.leaves(half.batch_stats)} == {"float32", "int32"}
    assert half(PIXELS).image_embeds.dtype == jnp.bfloat16


def test_the_converter_reads_and_writes_the_state(model, tmp_path):
    learner = nnx.clone(model)
    learner(PIXELS, train=True)
    learner.save_pretrained(tmp_path / "hf")
    state = serialization.msgpack_serialize(jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(learner))))
    (tmp_path / "nnx_state.msgpack").write_bytes(state)
    convert(tmp_path / "nnx_state.msgpack", tmp_path / "back", to="hf", config=tmp_path / "hf/config.json")
    written = (tmp_path / "hf/model.safetensors").read_bytes()
    assert (tmp_path / "back/model.safetensors").read_bytes() == written
    convert(tmp_path / "hf", tmp_path / "nnx", to="nnx")
    other, content = nnx.state(nnx.clone(model)), (tmp_path / "nnx/nnx_state.msgpack").read_bytes()
    nnx.replace_by_pure_dict(other, serialization.msgpack_restore(content))
    close(model(PIXELS, params=nnx.to_pure_dict(other)).image_embeds, learner(PIXELS).image_embeds)
