"""The harness on sides that count and fail; nothing is timed."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from benchmarks.__main__ import _only
from benchmarks.comparison import difference
from benchmarks.harness import Bench, summarize
from benchmarks.row import Side
from benchmarks.rows import command
from benchmarks.tests.toy import ROW


def test_sides_take_turns_and_only_equal_ones_are_timed(tmp_path: Path) -> None:
    cases = list(Bench(sys.executable, tmp_path, rounds=2).measure(ROW))
    calls = (tmp_path / "calls").read_text().splitlines()
    for size in (3, 5):
        ready = [f"{name} {size} 1" for name in ("first", "second", "wrong") for _ in range(2)]
        own = [line for line in calls if line.split()[1] == str(size)]
        assert own == ready + [f"first {size} 1", f"second {size} 1"] * 2
    for found in cases:
        sides = found["sides"]
        assert (sides["first"]["ratio"], sides["first"]["difference"], found["rounds"]) == (1, 0, 2)
        assert sides["second"]["seconds"] > 0 < sides["second"]["difference"] < 1e-5
        assert sides["second"]["memory"] == 1000
        assert sides["wrong"]["failed"].startswith("other results: differs by")
        assert "seconds" not in sides["wrong"]
        assert sides["absent"] == {"missing": True}
        assert sides["raising"] == {"failed": "ValueError: no such model"}
        assert sides["dying"]["failed"].startswith("the process ended with 3")


def test_fresh_processes_for_every_measurement(tmp_path: Path) -> None:
    row = dataclasses.replace(ROW, fresh=True, cases=[{"size": 3}])
    (found,) = Bench(sys.executable, tmp_path, rounds=2, sides=("first", "second", "raising")).measure(row)
    assert (tmp_path / "calls").read_text().split("\n")[:-1] == ["first 3 1", "second 3 1"] * 3  # the first not counted
    assert set(found["sides"]["second"]) >= {"seconds", "ratio", "difference"}
    assert found["sides"]["raising"] == {"failed": "ValueError: no such model"}


def test_the_start_of_a_fresh_process_counts_when_rounds_are_planned(tmp_path: Path) -> None:
    row = dataclasses.replace(ROW, fresh=True, cases=[{"size": 3}], budget=0.03)  # less than Python takes to start
    (found,) = Bench(sys.executable, tmp_path, sides=("first",)).measure(row)
    assert found["rounds"] == 3


def test_sides_allow_differences_of_their_own(tmp_path: Path) -> None:
    sides = {"first": Side(function="first"), "wrong": Side(function="wrong", within=2)}
    row = dataclasses.replace(ROW, sides=sides, cases=[{"size": 3}])
    (found,) = Bench(sys.executable, tmp_path, rounds=1).measure(row)
    assert found["sides"]["wrong"]["seconds"] > 0
    (found,) = Bench(sys.executable, tmp_path, rounds=1).measure(dataclasses.replace(row, reference="wrong"))
    assert found["sides"]["first"]["failed"].startswith("other results")


def test_results_of_a_narrow_dtype_are_compared_by_their_cosine() -> None:
    row = dataclasses.replace(ROW, cosine={"int8": 0.99})
    assert row.problem("first", {"dtype": "int8"}, {"difference": 5.0, "cosine": 0.991}) is None
    assert (
        row.problem("first", {"dtype": "int8"}, {"difference": 0.0, "cosine": 0.98})
        == "a cosine of 0.9800, less than 0.99"
    )
    assert row.problem("first", {"dtype": "int8"}, {"difference": 0.0, "cosine": float("nan")})
    assert row.problem("first", {"dtype": "float32"}, {"difference": 5.0, "cosine": 0.991})


def test_a_case_may_have_any_size_where_the_row_says_so(tmp_path: Path) -> None:
    assert _only(command.ROW, (), ("pictures=2000",), ()).cases == [{"pictures": 2000}]
    assert _only(command.ROW, (), ("pictures=1",), ()).cases == [{"pictures": 1}]
    with pytest.raises(click.UsageError, match="has no case size=7"):
        _only(ROW, (), ("size=7",), ())
    for folder in ("jpegs", "more"):
        (tmp_path / folder).mkdir()
    for name in "ab":
        (tmp_path / "jpegs" / f"{name}.jpg").write_text(name)
    files = command._files(tmp_path / "jpegs", 5, tmp_path / "more")
    assert [Path(file).read_text() for file in files] == ["a", "b", "a", "b", "a"]
    assert len(set(files)) == 5


def test_a_ratio_is_that_within_a_round() -> None:
    rounds = [
        {"a": {"seconds": base, "cpu": base, "memory": 1}, "b": {"seconds": base * ratio, "cpu": 1, "memory": 1}}
        for base, ratio in ((1, 2), (10, 3), (100, 5))
    ]
    known: dict[str, dict[str, Any]] = {"a": {}, "b": {}}
    found = summarize(rounds, known)["sides"]["b"]
    assert (found["ratio"], found["seconds"]) == (3, 30)
    json.dumps(found)


@pytest.mark.parametrize(
    ("found", "wanted", "expected"),
    [
        (np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]]), 0.5),
        (np.array([[1.0, 2.0], [1.5, 2.0]]), np.array([[1.0, 2.0], [2.0, 2.0]]), 1.0),
        (np.array([np.nan]), np.array([1.0]), np.nan),
        (np.zeros((2, 3)), np.zeros((2, 4)), np.inf),
    ],
    ids=["ids", "as a part of what tells rows apart", "nan", "shapes"],
)
def test_difference(found: Any, wanted: Any, expected: float) -> None:
    assert difference(found, wanted)["difference"] == pytest.approx(expected, nan_ok=True)
