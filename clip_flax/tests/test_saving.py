"""What a checkpoint cannot hold is refused; what lies elsewhere is read; wrapped weights are reached."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from clip_core.errors import WeightMismatchError
from clip_core.tests.sizes import DISTINCT
from clip_flax import FlaxCLIPModel
from clip_flax.tests.sharded_forward import CONFIG


def lora_linear(model):
    model.text_projection = nnx.LoRALinear(24, 18, lora_rank=2, use_bias=False, rngs=nnx.Rngs(0))


def lora(model):
    attention = model.text_model.encoder.layers[0].self_attn
    attention.q_proj = nnx.LoRA(24, 2, 24, base_module=attention.q_proj, rngs=nnx.Rngs(0))
    attention.q_proj.lora_b[...] = jnp.ones((2, 24))


def bias(model):
    model.text_projection.bias = nnx.Param(jnp.ones(18))


def head(model):
    model.head = nnx.Linear(18, 5, rngs=nnx.Rngs(0))


def array(model):
    model.temperatures = nnx.data(jnp.ones(7))


def more_words(model):
    model.text_model.embeddings.token_embedding = nnx.Embed(67, 24, rngs=nnx.Rngs(0))


def fewer_layers(model):
    model.text_model.encoder.layers = nnx.List(list(model.text_model.encoder.layers)[:1])


def other_layer(model):
    model.text_projection = nnx.Einsum("bh,hd->bd", (24, 18), None, rngs=nnx.Rngs(0))
    model.text_projection.weight = model.text_projection.kernel
    del model.text_projection.kernel


def quantised(model):
    model.text_projection.kernel = nnx.Param(jnp.ones((24, 18), jnp.int8))


def lora_of_another_class(model):
    lora(model)
    attention = model.text_model.encoder.layers[0].self_attn
    attention.q_proj.__class__ = type("Scaled", (nnx.LoRA,), {})


def lora_that_holds_more(model):
    lora(model)
    model.text_model.encoder.layers[0].self_attn.q_proj.gate = nnx.Param(jnp.ones(24))


def lora_around_words(model):
    embeddings = model.text_model.embeddings
    embeddings.token_embedding = nnx.LoRA(61, 2, 24, base_module=embeddings.token_embedding, rngs=nnx.Rngs(0))


LORA = "+ text_model.encoder.layers.0.self_attn.q_proj."
LOST = {
    lora_of_another_class: [f"{LORA}lora_a [24, 2]: has no place in a checkpoint"],
    lora_that_holds_more: [f"{LORA}lora_a [24, 2]", f"{LORA}gate [24]"],
    lora_around_words: ["+ text_model.embeddings.token_embedding.lora_a [61, 2]"],
    bias: ["+ text_projection.bias [18]: has no place"],
    head: ["+ head.kernel [18, 5]: has no place", "+ head.bias [5]"],
    array: ["+ temperatures [7]: has no place"],
    more_words: ["- text_model.embeddings.token_embedding.weight [61, 24]", "weight [67, 24]: in the model, float32"],
    fewer_layers: ["text_model.encoder.layers.1.mlp.fc2.bias [24]: cannot be read"],
    other_layer: [
        "- text_projection.weight [18, 24]: cannot be read",
        "+ text_projection.weight [24, 18]: has no place",
    ],
    quantised: ["+ text_projection.weight [18, 24]: in the model, int8"],
}


@pytest.mark.parametrize("change", LOST, ids=lambda change: change.__name__)
def test_what_would_be_lost_is_named_and_nothing_written(tmp_path, change):
    model = FlaxCLIPModel(DISTINCT, seed=3)
    change(model)
    with pytest.raises(WeightMismatchError, match=r"FlaxCLIPModel\.save_pretrained: nothing was written") as error:
        model.save_pretrained(tmp_path / "checkpoint")
    for line in LOST[change]:
        assert line in str(error.value)
    assert not (tmp_path / "checkpoint").exists()


def twice(model):
    lora(model)
    attention = model.text_model.encoder.layers[0].self_attn
    attention.q_proj = nnx.LoRA(24, 3, 24, base_module=attention.q_proj, rngs=nnx.Rngs(1))
    attention.q_proj.lora_b[...] = jnp.ones((3, 24))


@pytest.mark.parametrize("adapt", [lora, lora_linear, twice], ids=lambda adapt: adapt.__name__)
def test_adapters_are_saved_merged_and_the_model_keeps_them(tmp_path, inputs, adapt, assert_same):
    model = FlaxCLIPModel(DISTINCT, seed=3)
    kernel = model.text_projection.kernel[...]
    adapt(model)
    if adapt is lora_linear:
        model.text_projection.kernel = nnx.Param(kernel)
        model.text_projection.lora.lora_b[...] = jnp.ones((2, 18))
    before, ids = jax.tree.map(np.asarray, nnx.to_pure_dict(nnx.state(model))), inputs["input_ids"]
    features = model.get_text_features(ids)
    model.save_pretrained(tmp_path)
    assert_same(nnx.to_pure_dict(nnx.state(model)), before, atol=0)
    loaded = FlaxCLIPModel.from_pretrained(tmp_path)
    assert_same(loaded.get_text_features(ids), features, atol=1e-4)
    assert np.abs(features - FlaxCLIPModel(DISTINCT, seed=3).get_text_features(ids)).max() > 0.01


def test_states_of_training_are_not_in_the_way(tmp_path, model, assert_same):
    trained = nnx.clone(model)
    trained.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
    trained.accuracy = nnx.metrics.Average()
    trained.features = nnx.Intermediate((jnp.ones(3),))
    trained.save_pretrained(tmp_path)
    assert_same(FlaxCLIPModel.from_pretrained(tmp_path).params, model.params, atol=0)


def test_params_reach_the_weights_inside_a_wrapper(model, inputs, assert_same):
    adapted, other = FlaxCLIPModel(DISTINCT, seed=3), FlaxCLIPModel(DISTINCT, seed=4)
    lora(adapted)
    lora(other)
    other.text_model.encoder.layers[0].self_attn.q_proj.lora_a[...] = adapted.text_model.encoder.layers[
        0
    ].self_attn.q_proj.lora_a[...]
    assert_same(adapted.params, model.params, atol=0)
    assert_same(adapted(**inputs, params=other.params), other(**inputs), atol=0)
    assert_same(adapted.with_params(other.params).params, other.params, atol=0)
    gradient = jax.grad(lambda params: adapted(**inputs, params=params, return_loss=True).loss)(model.params)
    assert jnp.abs(gradient["text_model"]["encoder"]["layers"]["0"]["self_attn"]["q_proj"]["kernel"]).max() > 0


def test_params_of_a_layer_that_cannot_be_reached_are_refused(model, inputs):
    changed = nnx.clone(model)
    other_layer(changed)
    lost = r"FlaxCLIPModel\.params: the model is not.*\n  - text_projection.weight \[18, 24\]: cannot be read: .*kernel"
    with pytest.raises(WeightMismatchError, match=lost):
        changed(**inputs, params=model.params)
    with pytest.raises(WeightMismatchError, match=lost):
        _ = changed.params


def test_arrays_over_several_devices_are_read_whole(tmp_path):
    code = (
        "import sys, jax, numpy as np; from flax import nnx; from clip_flax import FlaxCLIPModel;"
        "from clip_flax.tests.sharded_forward import CONFIG, partition;"
        "from jax.sharding import Mesh, NamedSharding;"
        "mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ('data', 'model'));"
        "model = FlaxCLIPModel(CONFIG, seed=3); state = nnx.state(model);"
        "place = lambda path, leaf: jax.device_put(leaf, NamedSharding(mesh, partition(path, leaf)));"
        "nnx.update(model, jax.tree_util.tree_map_with_path(place, state));"
        "assert any(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(model.params));"
        "model.save_pretrained(sys.argv[1])"
    )
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, check=True)
    assert_saved(tmp_path)


def test_arrays_over_processes_are_gathered_and_written_once(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "clip_flax.tests.spread_save"]
    processes = [
        subprocess.Popen([*command, str(process), str(port), str(tmp_path)], stderr=subprocess.PIPE, text=True)
        for process in range(2)
    ]
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert len(list(Path(tmp_path).glob("*.safetensors"))) > 1
    assert_saved(tmp_path)


def assert_saved(path):
    saved, expected = FlaxCLIPModel.from_pretrained(path).params, FlaxCLIPModel(CONFIG, seed=3).params
    for got, wanted in zip(jax.tree.leaves(saved), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(got, wanted)
