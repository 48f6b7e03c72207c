"""Half precision: the reference gets the same rounded weights, so what is measured is arithmetic.

Logits and loss are float32; everything else has the dtype of the weights. A whole model's errors hide a layer's; so
what must be computed in float32 and rounded at its end is compared by itself, and may err by that rounding only.
"""

from functools import cache

import ml_dtypes
import numpy as np
import pytest

from clip_core.weights import weight_specs
from conformance_tests import oracle_layers, oracle_resnet
from conformance_tests.adapter import flat, from_grid, to_grid
from conformance_tests.cases import full_inputs
from conformance_tests.ladder.test_layers import FIRST_BLOCKS, NORMS, exact_attention_of, noise, tower_config
from conformance_tests.oracle import Oracle, contrastive_loss, visible_keys, vision_embeddings
from conformance_tests.oracle_layers import Weights

NARROW = {"bfloat16": np.dtype(ml_dtypes.bfloat16), "float16": np.dtype(np.float16)}
OPTIONS = {"return_loss": True, "output_hidden_states": True, "output_attentions": True}


def rounded(case, dtype):
    """As a model of that dtype has them: its running statistics are float32."""
    dtypes = {spec.name: np.dtype(spec.dtype_in(dtype)) for spec in weight_specs(case.config)}
    return {name: value.astype(dtypes[name]) for name, value in case.weights.items()}


@pytest.fixture(scope="module")
def narrow_model(backend):
    """The full model of a case in a dtype, built once."""
    if getattr(backend, "COMPUTES_WIDE", False):
        pytest.skip("the backend says that it computes in float32 whatever the dtype of the weights")
    return cache(lambda case, dtype: backend.build("model", case.config, case.weights, dtype=dtype))


@pytest.fixture(scope="module")
def outputs(backend, narrow_model):
    """Every field of such a model's output, computed once."""

    @cache
    def of(case, dtype):
        inputs = full_inputs(case.config, 3, 3)
        return flat(backend.call(narrow_model(case, dtype), "", **inputs, **OPTIONS), backend.to_array)

    return of


def close_as_rounded_once(compare, dtype, what, got, expected):
    """Element by element; a twentieth of the largest and less may be what a difference left over."""
    assert got.dtype == NARROW[dtype]
    large = np.abs(expected) > 5e-2 * np.abs(expected).max()
    ratio = got[large].astype(np.float64) / expected[large]
    compare.close(f"rounded once: {dtype}", what, {"ratio": ratio}, {"ratio": np.ones_like(ratio)})


@pytest.mark.parametrize("dtype", NARROW)
def test_outputs(each_tower, outputs, compare, dtype):
    got = outputs(each_tower, dtype)
    expected = flat(
        Oracle(each_tower.config, rounded(each_tower, dtype)).outputs(full_inputs(each_tower.config, 3, 3)), np.asarray
    )
    wide = {name for name, value in got.items() if value.dtype == np.float32}
    assert wide == {"loss", "logits_per_image", "logits_per_text"}
    assert {value.dtype for name, value in got.items() if name not in wide} == {NARROW[dtype]}
    relative = {name: value for name, value in expected.items() if name != "loss"}  # which has no scale of its own
    compare.close(f"dtypes: {dtype}", each_tower.name, {name: got[name] for name in relative}, relative)


@pytest.mark.parametrize("dtype", NARROW)
def test_logits_and_loss_are_not_rounded(each_tower, outputs, compare, dtype):
    """From the embeddings and the logits that the model returns, which are exact."""
    got = outputs(each_tower, dtype)
    texts, images = (got[name].astype(np.float64) for name in ("text_embeds", "image_embeds"))
    logits = np.exp(rounded(each_tower, dtype)["logit_scale"].astype(np.float64)) * texts @ images.T
    compare.close("dtypes: logits", dtype, {"logits": got["logits_per_text"]}, {"logits": logits})
    loss, _ = contrastive_loss(got["logits_per_text"].astype(np.float64))
    compare.close("loss", dtype, {"loss": got["loss"]}, {"loss": loss})


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("block", FIRST_BLOCKS)
def test_attention_is_rounded_once(backend, vit_base, narrow_model, compare, block, dtype):
    """Scores are exact and lie between -18 and 18; a softmax by rounded steps errs by twice the last rounding."""
    case, path = exact_attention_of(vit_base), f"{block}.self_attn"
    config = tower_config(case, path)
    x = np.random.default_rng(7).integers(-3, 4, (2, 9, config.hidden_size)).astype(NARROW[dtype])
    visible = visible_keys(9, np.array([[1] * 9, [1] * 5 + [0] * 4]))
    got = backend.to_array(backend.call(narrow_model(case, dtype), path, x, visible, True)[1])
    _, expected, _ = oracle_layers.attention(
        Weights(case.weights), path, x.astype(np.float64), config.num_attention_heads, visible
    )
    assert (got[~np.broadcast_to(visible, got.shape)] == 0).all()
    close_as_rounded_once(compare, dtype, path, got, expected)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("path", NORMS)
def test_layer_norm_is_rounded_once(backend, vit_base, narrow_model, compare, path, dtype):
    """Inputs of mean 30, whose digits a mean in half precision would not hold."""
    config = tower_config(vit_base, path)
    x = (noise(2, 3, config.hidden_size) + np.float32(30)).astype(NARROW[dtype])
    expected, _ = oracle_layers.layer_norm(
        Weights(rounded(vit_base, dtype)), path, x.astype(np.float64), config.layer_norm_eps
    )
    got = backend.to_array(backend.call(narrow_model(vit_base, dtype), path, x))
    close_as_rounded_once(compare, dtype, path, got, expected)


@pytest.mark.parametrize("dtype", NARROW)
def test_resampled_positions_are_rounded_once(backend, vit_base, narrow_model, compare, dtype):
    """Black images, so that what the patches get is their positions."""
    config, path = vit_base.config.vision_config, "vision_model.embeddings"
    rows, columns = config.patches_per_side + 1, config.patches_per_side + 2
    black = np.zeros((1, config.num_channels, rows * config.patch_size, columns * config.patch_size), np.float32)
    expected, _ = vision_embeddings(Weights(rounded(vit_base, dtype)), path, black, config)
    got = backend.to_array(backend.call(narrow_model(vit_base, dtype), path, black))
    close_as_rounded_once(compare, dtype, path, got, expected)


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("leaf", ["bn2", "layer3.0.bn3", "layer4.0.downsample.1"])
def test_batch_norm_is_rounded_once(backend, resnet, narrow_model, compare, leaf, dtype):
    """By statistics in float32, of inputs of mean 30."""
    path = f"vision_model.{leaf}"
    channels = len(resnet.weights[f"{path}.weight"])
    x = (noise(2, channels, 3, 4) + np.float32(30)).astype(NARROW[dtype])
    expected, _ = oracle_resnet.batch_norm(Weights(rounded(resnet, dtype)), path, x.astype(np.float64), False)
    got = from_grid(backend, backend.call(narrow_model(resnet, dtype), path, to_grid(backend, x)))
    close_as_rounded_once(compare, dtype, path, got, expected)
