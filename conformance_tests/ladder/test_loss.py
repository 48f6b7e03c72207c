"""The symmetric contrastive loss."""

import numpy as np
import pytest

from conformance_tests.cases import full_inputs


def test_loss(backend, case, model_of, compare):
    inputs = full_inputs(case.config, 3, 3)
    got = backend.to_array(backend.call(model_of(case), "", **inputs, return_loss=True).loss)
    compare.close("loss", case.name, {"loss": got}, {"loss": case.oracle.outputs(inputs)["loss"]})


def test_loss_of_one_pair_is_zero(backend, base, model_of):
    loss = backend.to_array(backend.call(model_of(base), "", **full_inputs(base.config, 1, 1), return_loss=True).loss)
    assert loss.shape == ()
    assert abs(loss) < 1e-6


def test_loss_is_absent_unless_asked_for(backend, base, model_of):
    output = backend.call(model_of(base), "", **full_inputs(base.config, 3, 3))
    assert output.loss is None
    assert "loss" not in output


def test_loss_of_unequal_numbers_is_an_error(backend, base, model_of):
    with pytest.raises(ValueError, match="as many images as texts, in pairs, got 2 and 3"):
        backend.call(model_of(base), "", **full_inputs(base.config, 3, 2), return_loss=True)


def test_loss_looks_both_ways(base):
    """The cases are such that a one-sided loss would be another number."""
    logits = base.oracle.outputs(full_inputs(base.config, 3, 3))["logits_per_text"]
    rows = np.log(np.exp(logits - logits.max()).sum(1)) - np.diag(logits)
    columns = np.log(np.exp(logits - logits.max()).sum(0)) - np.diag(logits)
    assert abs(rows.mean() - columns.mean()) > 1e-2
