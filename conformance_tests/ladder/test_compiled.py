"""Compiled and exported, a model gives what it gives eagerly: compared with the reference all the same."""

import numpy as np

from conformance_tests.adapter import flat
from conformance_tests.cases import full_inputs


def inputs_of(case):
    return full_inputs(case.config, 3, 2)


def check(backend, case, compare, what, output):
    got = flat(output, backend.to_array)
    expected = flat(case.oracle.outputs(inputs_of(case)), np.asarray)
    unasked = {name: value for name, value in expected.items() if "hidden_states." not in name and "attent" not in name}
    compare.close("compiled", what, got, unasked)


def test_compiled(backend, base, model_of, compare):
    check(backend, base, compare, "compiled", backend.compiled(model_of(base), inputs_of(base)))


def test_exported(backend, base, model_of, compare, tmp_path):
    check(backend, base, compare, "exported", backend.exported(model_of(base), inputs_of(base), tmp_path))
