"""What a JAX user does with a module; the numbers themselves are the conformance suite's."""

import copy
import inspect
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import export

from clip_core.config import CLIPTextConfig
from clip_core.errors import InputError, InputTypeError
from clip_core.initialization import draw_weights
from clip_core.outputs import CLIPOutput
from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPModel, FlaxCLIPTextModel, FlaxCLIPVisionModel, FlaxCLIPVisionModelWithProjection
from clip_flax.compilation import FUNCTIONAL, _is_known

DROPPING = replace(DISTINCT, text_config=replace(DISTINCT.text_config, attention_dropout=0.5))


@pytest.mark.parametrize("flags", [{}, {"output_attentions": True, "output_hidden_states": True, "return_loss": True}])
def test_compiles(model, inputs, flags, assert_same):
    expected = model(**inputs, **flags)
    output = nnx.jit(lambda model, inputs: model(**inputs, **flags))(model, inputs)
    assert type(output) is type(expected)
    assert_same(output, expected)


def test_attention_and_hidden_states_are_in_plain_tuples_too(model, inputs, assert_same):
    flags = {"output_attentions": True, "output_hidden_states": True}
    assert_same(model(**inputs, return_dict=False, **flags), model(**inputs, **flags).to_tuple(), atol=0)


def test_splits_into_arrays_and_merges(model, inputs, assert_same):
    graph, state = nnx.split(model)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert_same(jax.jit(lambda state: nnx.merge(graph, state)(**inputs))(state), model(**inputs))


def test_one_optimizer_step_lowers_the_loss(inputs):
    model = FlaxCLIPModel(DISTINCT, seed=3)
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        loss, gradients = nnx.value_and_grad(lambda model: model(**inputs, return_loss=True).loss)(model)
        optimizer.update(model, gradients)
        return loss

    first, second = step(model, optimizer), step(model, optimizer)
    assert second < first


def test_an_exported_program_survives_bytes_and_takes_other_sizes(model, inputs, assert_same):
    batch, token = export.symbolic_shape("batch, token")
    ids = jax.ShapeDtypeStruct((batch, token), jnp.int32)
    pixels = jax.ShapeDtypeStruct((batch, 3, 30, 30), jnp.float32)
    compiled = jax.jit(lambda params, ids, mask, pixels: model(ids, pixels, mask, params=params))
    program = export.deserialize(export.export(compiled)(model.params, ids, ids, pixels).serialize())
    ids, mask = inputs["input_ids"][:2, :8].astype(np.int32), inputs["attention_mask"][:2, :8].astype(np.int32)
    output = program.call(model.params, ids, mask, inputs["pixel_values"][:2])
    assert isinstance(output, CLIPOutput)
    assert_same(output, model(ids, inputs["pixel_values"][:2], mask))


def test_pickle_and_deepcopy(model, inputs, assert_same):
    expected = model(**inputs)
    assert_same(pickle.loads(pickle.dumps(expected)), expected, atol=0)
    assert_same(pickle.loads(pickle.dumps(model))(**inputs), expected, atol=0)
    assert_same(copy.deepcopy(model)(**inputs), expected, atol=0)


def test_gradient_checkpointing_changes_no_gradient_and_recomputes(inputs, assert_same):
    def loss(model):
        return model(**inputs, return_loss=True, train=True, dropout_rng=jax.random.key(0)).loss

    model = FlaxCLIPModel(DROPPING, seed=3)
    plain = nnx.jit(nnx.grad(loss))(model)
    assert "remat" not in str(jax.make_jaxpr(loss)(model))
    model.gradient_checkpointing_enable()
    assert_same(nnx.jit(nnx.grad(loss))(model), plain)
    assert str(jax.make_jaxpr(loss)(model)).count(" remat") == 5  # one per block
    saved = jax.checkpoint_policies.everything_saveable
    model.gradient_checkpointing_enable(policy=saved)
    assert "everything_saveable" in str(jax.make_jaxpr(loss)(model))
    with pytest.raises(InputTypeError, match="policy: expected one of jax.checkpoint_policies, got 'dots'"):
        model.gradient_checkpointing_enable(policy="dots")
    model.gradient_checkpointing_disable()
    assert not model.text_model.encoder.gradient_checkpointing


def test_dropout_acts_in_training_only_and_follows_its_key(inputs, assert_same):
    model = FlaxCLIPTextModel(DROPPING.text_config)
    ids, one, two = inputs["input_ids"], jax.random.key(1), jax.random.key(2)
    still = model(ids)[0]
    assert_same(model(ids, dropout_rng=one)[0], still, atol=0)
    dropped = model(ids, train=True, dropout_rng=one, output_attentions=True)
    assert_same(model(ids, train=True, dropout_rng=one)[0], dropped[0], atol=0)
    assert not np.array_equal(model(ids, train=True, dropout_rng=two)[0], dropped[0])
    np.testing.assert_allclose(dropped.attentions[0].sum(-1), 1, atol=1e-5)  # they are those before dropout


def test_train_eval_and_view_switch_dropout(inputs, assert_same):
    model = FlaxCLIPTextModel(DROPPING.text_config)
    ids, key = inputs["input_ids"], jax.random.key(1)
    still, dropped = model(ids)[0], model(ids, train=True, dropout_rng=key)[0]
    model.train()
    assert_same(model(ids, dropout_rng=key)[0], dropped, atol=0)
    with pytest.raises(InputError, match="dropout_rng: expected a key.*Pass dropout_rng=jax.random.key"):
        model(ids)
    assert_same(nnx.view(model, deterministic=True)(ids)[0], still, atol=0)
    model.eval()
    assert_same(model(ids)[0], still, atol=0)
    assert_same(FlaxCLIPModel(DISTINCT)(**inputs, train=True).loss, None)  # nothing to drop, no key needed


def test_vmap_over_a_leading_axis_of_the_inputs(model, inputs, assert_same):
    ids, pixels = inputs["input_ids"], inputs["pixel_values"]
    logits = jax.vmap(lambda ids, pixels: model(ids, pixels).logits_per_text)(
        np.stack([ids, ids[::-1]]), np.stack([pixels, pixels])
    )
    assert_same(logits[1], model(ids[::-1], pixels).logits_per_text, atol=1e-4)


def test_sharded_over_eight_devices_equals_one():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "clip_flax.tests.sharded_forward"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    differences = dict(line.rsplit(" ", 1) for line in done.stdout.splitlines())
    assert set(differences) == {"replicated", "tensor parallel", "not compiled"}
    assert all(float(difference) < 1e-4 for difference in differences.values()), differences


def test_loading_does_not_change_the_callers_arrays(assert_same):
    weights = dict(draw_weights(DISTINCT, seed=3))
    before = {name: value.copy() for name, value in weights.items()}
    model = FlaxCLIPModel(DISTINCT, weights=weights)
    for value in weights.values():
        value += 1
    assert_same(model.params, FlaxCLIPModel(DISTINCT, weights=before).params, atol=0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_saved_model_is_loaded_in_its_dtype_or_another(tmp_path, dtype, assert_same):
    model = FlaxCLIPModel(DISTINCT, seed=3, dtype=dtype)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    loaded = FlaxCLIPModel.from_pretrained(tmp_path, dtype="auto")
    assert loaded.dtype == jnp.dtype(dtype)
    assert_same(loaded.params, model.params, atol=0)
    assert FlaxCLIPModel.from_pretrained(tmp_path).dtype == jnp.float32


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_computes_in_it_but_for_logits_and_loss(inputs, dtype):
    output = FlaxCLIPModel(DISTINCT, seed=3, dtype=dtype)(**inputs, return_loss=True)
    assert output.text_embeds.dtype == output.image_embeds.dtype == jnp.dtype(dtype)
    assert output.logits_per_image.dtype == output.loss.dtype == jnp.float32


def test_wrong_inputs_are_refused(model, inputs):
    with pytest.raises(InputTypeError, match="expected a jax.Array or numpy.ndarray, got list.*return_tensors='np'"):
        model(**(inputs | {"pixel_values": inputs["pixel_values"].tolist()}))
    with pytest.raises(InputTypeError, match="expected a CLIPVisionConfig, got CLIPTextConfig"):
        FlaxCLIPVisionModelWithProjection(CLIPTextConfig())
    for dtype in ("int8", "float64", "word"):  # JAX would make float32 of float64
        with pytest.raises(InputTypeError, match=f"dtype: expected float32, bfloat16 or float16, got '{dtype}'"):
            FlaxCLIPModel(DISTINCT, dtype=dtype)
    with pytest.raises(InputError, match="as many images as texts"):
        model(**(inputs | {"pixel_values": inputs["pixel_values"][:2]}), return_loss=True)


@pytest.mark.parametrize(
    ("shift", "converted"),
    [(1000, jnp.asarray), (-1000, jnp.asarray), (2**32, np.asarray)],  # the last is no shift at all in JAX's 32 bits
)
def test_ids_out_of_range_are_refused_before_jax_hides_them(model, inputs, shift, converted):
    with pytest.raises(InputError, match="input_ids: expected 0 to 60, got"):
        model(**(inputs | {"input_ids": converted(inputs["input_ids"] + shift)}))


def test_ids_out_of_range_give_nan_in_compiled_code(inputs):
    model = FlaxCLIPTextModel(DISTINCT.text_config)
    output = jax.jit(lambda ids: model(ids))(inputs["input_ids"] * 0 + 60).pooler_output
    assert np.isfinite(output).all()
    assert np.isnan(jax.jit(lambda ids: model(ids))(inputs["input_ids"] * 0 + 61).pooler_output).all()


def test_an_exported_tower_takes_images_of_any_size(assert_same):
    model = FlaxCLIPVisionModel(DISTINCT.vision_config)
    height, width = export.symbolic_shape("height, width", constraints=["height >= 7", "width >= 7"])
    pixels = jax.ShapeDtypeStruct((2, 3, height, width), jnp.float32)
    compiled = jax.jit(lambda params, pixels: model(pixels, params=params, interpolate_pos_encoding=True)[0])
    program = export.export(compiled)(model.params, pixels)
    for size in ((44, 23), (30, 30)):
        images = np.random.default_rng(0).standard_normal((2, 3, *size), np.float32)
        assert_same(program.call(model.params, images), model(images, interpolate_pos_encoding=True)[0])


def test_no_rank_is_promoted(model, inputs):
    odd = np.ones((2, 3, 44, 23), np.float32)
    with jax.numpy_rank_promotion("raise"):
        jax.eval_shape(lambda: model(**inputs, return_loss=True))
        jax.eval_shape(lambda ids: model.get_text_features(ids), inputs["input_ids"])
        jax.eval_shape(lambda: model.get_image_features(odd, interpolate_pos_encoding=True))


@pytest.fixture
def restored_classes(model):
    """`nnx.tabulate` leaves in classes what they inherit, `sow` too, which `nnx.capture` then takes for their own."""
    classes = {type(module) for _, module in nnx.iter_modules(model)}
    names = {owner: set(vars(owner)) for owner in classes}
    yield
    for owner, own in names.items():
        for name in set(vars(owner)) - own:
            delattr(owner, name)


@pytest.mark.usefixtures("restored_classes")
def test_a_table_of_the_whole_model(model, inputs):
    table = nnx.tabulate(model, inputs["input_ids"], inputs["pixel_values"], depth=1, console_kwargs={"width": 200})
    assert "text_projection" in table
    assert "26,837" in table  # parameters
    assert model.named_weights()["logit_scale"].shape == ()  # it leaves the classes as they were, but for methods that
    methods = [method for owner in FUNCTIONAL for method in vars(owner).values() if inspect.isfunction(method)]
    assert all(map(_is_known, methods))  # they inherited, and had not themselves: modules are compiled all the same


def test_weights_of_another_dtype_than_the_computation(inputs, tmp_path):
    model = FlaxCLIPVisionModel(DISTINCT.vision_config, seed=3, dtype="bfloat16", param_dtype="float32")
    assert {leaf.dtype.name for leaf in jax.tree.leaves(model.params)} == {"float32"}
    assert model(inputs["pixel_values"])[0].dtype == jnp.bfloat16
    model.save_pretrained(tmp_path)
    loaded = FlaxCLIPVisionModel.from_pretrained(tmp_path, param_dtype="float16")
    assert (loaded.dtype, loaded(inputs["pixel_values"])[0].dtype) == (jnp.float16, jnp.float32)
    with pytest.raises(InputTypeError, match="param_dtype: expected float32"):
        FlaxCLIPVisionModel(DISTINCT.vision_config, param_dtype="int8")


def test_rngs_say_the_seed(assert_same):
    config = DISTINCT.vision_config
    one, again, two = (FlaxCLIPVisionModel(config, rngs=nnx.Rngs(seed)).params for seed in (1, 1, 2))
    assert_same(one, again, atol=0)
    assert not np.array_equal(one["vision_model"]["embeddings"]["class_embedding"], jax.tree.leaves(two)[0])
    made = nnx.jit(lambda rngs: FlaxCLIPVisionModel(config, rngs=rngs))(nnx.Rngs(1))
    assert_same(made.params, one, atol=0)


def test_images_of_other_sizes(inputs, assert_same):
    model = FlaxCLIPVisionModel(DISTINCT.vision_config)
    images = np.ones((2, 3, 44, 23), np.float32)
    compiled = jax.jit(lambda images: model(images, interpolate_pos_encoding=True))
    assert_same(compiled(images), model(images, interpolate_pos_encoding=True))
    with pytest.raises(InputError, match="interpolate_pos_encoding=True"):
        model(images)
