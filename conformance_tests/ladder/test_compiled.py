"""Compiled and exported, a model gives what it gives eagerly: compared with the reference all the same."""

import numpy as np

from conformance_tests.adapter import flat
from conformance_tests.cases import full_inputs


def inputs_of(case):
    return full_inputs(case.config, 3, 2)


def expected_of(case):
    """The fields that are there unasked."""
    expected = flat(case.oracle.outputs(inputs_of(case)), np.asarray)
    return {name: value for name, value in expected.items() if "hidden_states." not in name and "attent" not in name}


def test_compiled(backend, each_tower, model_of, compare):
    got = flat(backend.compiled(model_of(each_tower), inputs_of(each_tower)), backend.to_array)
    compare.close("compiled", "compiled", got, expected_of(each_tower))


def test_exported(backend, each_tower, model_of, compare, tmp_path):
    """A format that holds no outputs inside outputs (SavedModel's signatures) may leave out the towers'."""
    got = flat(backend.exported(model_of(each_tower), inputs_of(each_tower), tmp_path), backend.to_array)
    expected = expected_of(each_tower)
    own = {name: value for name, value in expected.items() if "." not in name}
    compare.close("compiled", "exported", got, own if set(got) == set(own) else expected)
