"""Every hidden state and every attention, and which of them equal which."""

import numpy as np
import pytest

from conformance_tests.adapter import flat
from conformance_tests.cases import full_inputs

FLAGS = {"output_hidden_states": True, "output_attentions": True}


@pytest.mark.parametrize("masked", [False, True])
def test_all(backend, case, model_of, compare, masked):
    inputs = full_inputs(case.config, 3, 2)
    if not masked:
        del inputs["attention_mask"]
    got = flat(backend.call(model_of(case), "", **inputs, **FLAGS), backend.to_array)
    expected = flat(case.oracle.outputs(inputs), np.asarray)
    inside = {name for name in expected if ".hidden_states." in name or ".attentions." in name}
    compare.close(
        "hidden_states",
        "masked" if masked else "unmasked",
        {name: value for name, value in got.items() if name in inside},
        {name: expected[name] for name in inside},
    )


def test_last_hidden_states(backend, vit_base, model_of):
    """Text: the last state lacks the final LayerNorm. Vision: it is the last hidden state, before the post one."""
    output = backend.call(model_of(vit_base), "", **full_inputs(vit_base.config, 3, 2), **FLAGS)
    text, vision = output.text_model_output, output.vision_model_output
    to_array = backend.to_array
    assert len(text.hidden_states) == vit_base.config.text_config.num_hidden_layers + 1
    assert len(vision.hidden_states) == vit_base.config.vision_config.num_hidden_layers + 1
    assert np.abs(to_array(text.hidden_states[-1]) - to_array(text.last_hidden_state)).max() > 1e-2
    np.testing.assert_array_equal(to_array(vision.hidden_states[-1]), to_array(vision.last_hidden_state))


def test_last_hidden_state_of_a_resnet_is_its_last_stage(backend, resnet, model_of):
    """Row by row, and without the mean of all tokens that the pooling puts in front."""
    output = backend.call(model_of(resnet), "", **full_inputs(resnet.config, 3, 2), **FLAGS).vision_model_output
    last = backend.to_array(output.hidden_states[-1])  # [batch, hidden, row, column]
    tokens = last.transpose(0, 2, 3, 1).reshape(len(last), -1, last.shape[1])
    np.testing.assert_array_equal(backend.to_array(output.last_hidden_state), tokens)


def test_attention_rows_sum_to_one_and_see_nothing_later(backend, each_tower, model_of):
    output = backend.call(model_of(each_tower), "", **full_inputs(each_tower.config, 3, 2), **FLAGS)
    for tower in (output.text_model_output, output.vision_model_output):
        for weights in tower.attentions:
            np.testing.assert_allclose(backend.to_array(weights).sum(-1), 1, atol=1e-5)
    later = np.triu(np.ones(output.text_model_output.attentions[0].shape[-2:]), 1) > 0
    assert all((backend.to_array(weights)[..., later] == 0).all() for weights in output.text_model_output.attentions)
