"""Embeddings and logits of the full model, at logit scale 100, and the feature methods."""

import numpy as np
import pytest

from conformance_tests.adapter import flat
from conformance_tests.cases import full_inputs, pixel_inputs, text_inputs

OUTSIDE = ("logits_per_image", "logits_per_text", "text_embeds", "image_embeds")


@pytest.mark.parametrize("given", ["ids", "ids and mask", "ids, mask and positions"])
def test_logits(backend, case, model_of, compare, given):
    inputs = full_inputs(case.config, 3, 2)
    if given == "ids":
        del inputs["attention_mask"]
    elif "positions" in given:
        inputs |= text_inputs(case.config.text_config, 3, positions=True)
    got = flat(backend.call(model_of(case), "", **inputs), backend.to_array)
    expected = case.oracle.outputs(inputs)
    compare.close("logits", given, {name: got[name] for name in OUTSIDE}, {name: expected[name] for name in OUTSIDE})


def test_logits_of_another_image_size(backend, each_tower, model_of, compare):
    config = each_tower.config.vision_config
    patch, side = config.patch_size, config.patches_per_side
    pixels = pixel_inputs(config, 2, size=(patch * (side + 1), patch * (side + 3)))
    inputs = {**text_inputs(each_tower.config.text_config, 3), "pixel_values": pixels}
    got = flat(backend.call(model_of(each_tower), "", **inputs, interpolate_pos_encoding=True), backend.to_array)
    expected = each_tower.oracle.outputs(inputs)
    compare.close("logits", "interpolated", {n: got[n] for n in OUTSIDE}, {n: expected[n] for n in OUTSIDE})


def test_text_features(backend, case, model_of, compare):
    """Projected, not normalised."""
    inputs = text_inputs(case.config.text_config, 3, positions=True)
    got = backend.to_array(backend.call(model_of(case), "get_text_features", **inputs))
    compare.close(
        "towers", "get_text_features", {"output": got}, {"output": case.oracle.text(*inputs.values())["text_embeds"]}
    )


@pytest.mark.parametrize("interpolated", [False, True])
def test_image_features(backend, each_tower, model_of, compare, interpolated):
    """Projected, not normalised."""
    config = each_tower.config.vision_config
    size = (config.patch_size * (config.patches_per_side + 2), config.image_size) if interpolated else None
    pixels = pixel_inputs(config, 2, size=size)
    options = {"interpolate_pos_encoding": True} if interpolated else {}
    got = backend.to_array(backend.call(model_of(each_tower), "get_image_features", pixel_values=pixels, **options))
    expected = each_tower.oracle.vision(pixels)["image_embeds"]
    compare.close("towers", "get_image_features", {"output": got}, {"output": expected})


def test_logits_are_transposes_and_cosines(backend, base, model_of):
    output = backend.call(model_of(base), "", **full_inputs(base.config, 3, 2))
    np.testing.assert_array_equal(backend.to_array(output.logits_per_image), backend.to_array(output.logits_per_text).T)
    for embeds in (output.text_embeds, output.image_embeds):
        np.testing.assert_allclose(np.linalg.norm(backend.to_array(embeds), axis=-1), 1, atol=1e-6)
    limit = np.exp(base.weights["logit_scale"].astype(np.float64))
    assert np.abs(backend.to_array(output.logits_per_image)).max() <= limit * (1 + 1e-6)
