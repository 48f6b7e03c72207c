"""What runs the clients tells a success from a failure; the clients themselves are run by hand."""

from pathlib import Path

import numpy as np
import pytest

from conformance_tests.clients import trial as trials
from conformance_tests.clients.environments import ENVIRONMENTS
from conformance_tests.clients.trial import Trial, largest_difference, outcome

ROOT = Path(__file__).parents[2]


def test_every_environment_has_its_module():
    modules = {path.stem for path in (ROOT / "conformance_tests" / "clients").glob("*.py")}
    assert {environment.module for environment in ENVIRONMENTS.values()} <= modules


def test_every_client_has_its_results_on_the_page():
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    assert [name for name in ENVIRONMENTS if f"\n## {name} (" not in page] == []


@pytest.mark.parametrize(
    ("ours", "fails", "result", "surprising"),
    [
        (1.0, None, "works", False),
        (1.5, None, "differs", True),
        (np.nan, None, "differs", True),
        (ValueError("say why"), None, "ValueError: say why", True),
        (ValueError("say why"), "no wheel", "no: no wheel (ValueError: say why)", False),
        (1.0, "no wheel", "works, though listed: no wheel", True),
    ],
)
def test_a_row_tells_what_happened(ours, fails, result, surprising):
    def run(directory):
        assert list(directory.iterdir()) == []
        if isinstance(ours, Exception):
            raise ours
        return [np.array(ours)], [np.array(1.0)]

    row = outcome(Trial("this", run, 0.25, fails), "client 1")
    assert result in row.cells[3]
    assert row.surprising == surprising


def test_other_shapes_are_no_small_difference():
    with pytest.raises(AssertionError, match=r"\(2,\), theirs \(2, 1\)"):
        largest_difference(np.zeros(2), np.zeros((2, 1)))
    with pytest.raises(AssertionError, match="1 values, theirs 2"):
        largest_difference([1], [1, 2])


def test_no_trial_is_lost():
    count = len(trials.trials())
    trials.trial("one")(lambda directory: None)
    trials.trial("two")(lambda directory: None)
    assert [trial.what for trial in trials.trials()[count:]] == ["one", "two"]
    del trials.trials()[count:]
