"""Which weights a model has, under which names, and that it holds exactly the ones that it was given."""

from pathlib import Path

import numpy as np
import pytest

from clip_core.initialization import draw_weights
from conformance_tests.adapter import KINDS, config_of, specs_of
from conformance_tests.cases import full_inputs, named_case
from conformance_tests.comparison import equal

GOLDEN = Path(__file__).parent.parent / "names_of_base.txt"
"""Names and shapes that transformers gives the model of the base case, as ``tests/test_oracle.py`` checks."""


def test_names_and_shapes_are_those_of_the_field(backend):
    case = named_case("base")
    weights = backend.weights(backend.build("model", case.config, case.weights))
    got = sorted(f"{name} {list(value.shape)}" for name, value in weights.items())
    assert got == GOLDEN.read_text().splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_model_holds_the_weights_that_it_was_given(backend, each_tower, kind):
    given = {spec.name: each_tower.weights[spec.name] for spec in specs_of(kind, each_tower.config)}
    equal(kind, backend.weights(backend.build(kind, config_of(kind, each_tower.config), given)), given)


@pytest.mark.parametrize("kind", KINDS)
def test_seed_gives_the_initial_weights_of_the_core(backend, each_tower, kind):
    config = config_of(kind, each_tower.config)
    drawn = dict(draw_weights(config, seed=3, projection=kind not in ("text", "vision")))
    equal(kind, backend.weights(backend.build(kind, config, None, seed=3)), drawn)


def test_given_weights_are_not_changed(backend, base):
    before = {name: value.copy() for name, value in base.weights.items()}
    model = backend.build("model", base.config, base.weights)
    backend.step(model, full_inputs(base.config, 3, 3), "sgd", 0.1, 1e-8)
    equal("the caller's weights", base.weights, before)
    equal("the model, of which a copy was trained", backend.weights(model), before)


def test_given_weights_are_copied(backend, each_tower):
    given = {name: value.copy() for name, value in each_tower.weights.items()}
    model = backend.build("model", each_tower.config, given)
    for value in given.values():
        value.fill(0)
    equal("the model", backend.weights(model), each_tower.weights)


def test_no_two_weights_look_alike(base):
    """A forgotten transpose must not hide behind a symmetric value."""
    square = [value for value in base.weights.values() if value.ndim == 2 and value.shape[0] == value.shape[1]]
    assert square
    assert not any(np.allclose(value, value.T) for value in square)
