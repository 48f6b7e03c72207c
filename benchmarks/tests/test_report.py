"""What the page says of results: ratios, what fails, what was left out."""

from __future__ import annotations

import dataclasses
import json
from importlib import import_module
from typing import Any

import pytest

from benchmarks import report
from benchmarks.rows import ON_REQUEST, ROWS, row
from benchmarks.tests.toy import ROW

TIMED = {"seconds": 0.0412, "ratio": 0.5, "cpu": 0.08, "cpu_ratio": 0.4, "memory": 3_000_000, "difference": 1e-6}
FOUND: dict[str, Any] = {
    "date": "2026-11-28",
    "commit": "abc",
    "processor": {"name": "P", "family": 1, "model": 2, "cores": 2, "instructions": ["avx2"], "load": 0.1},
    "versions": {"python": "3.11", "torch": "2.14"},
    "cases": [
        {
            "case": {"dtype": "float32", "size": 3},
            "cores": 1,
            "rounds": 5,
            "sides": {"first": TIMED, "second": {"failed": "ValueError: no\nmodel"}, "absent": {"missing": True}},
        },
        {"case": {"dtype": "int8", "size": 3}, "cores": 1, "rounds": 0, "left_out": "no such thing", "sides": {}},
    ],
}


def test_the_part_of_a_row() -> None:
    chosen = dataclasses.replace(ROW, group="dtype", memory=True, operations=lambda case: case["size"] * 1e9)
    lines = report.part(chosen, FOUND).splitlines()
    assert lines[0].startswith(
        "2026-11-28, commit abc; P (family 1, model 2), avx2, 2 cores, load 0.1 before; 5 rounds;"
    )
    assert "| float32, 1 core | size 3 |" in lines
    assert "| first | **0.50** (41.2 ms, 3 MB, 72.8 G/s) |" in lines
    assert "| second | fails |" in lines
    assert "- Fails: second: ValueError: no model" in lines
    assert "Not measured: int8, 1 core; no such thing." in lines
    assert not any("absent" in line for line in lines)


def test_the_worst_case_of_each_group_is_told() -> None:
    def case(dtype: str, **differences: float) -> dict[str, Any]:
        sides = {side: {**TIMED, "difference": value} for side, value in differences.items()}
        return {"case": {"dtype": dtype}, "sides": sides}

    cases = [case("float32", first=0, second=3e-4, third=2e-6), case("float32", second=1e-6), case("int8", second=0.2)]
    assert report.differences(dataclasses.replace(ROW, group="dtype"), {"cases": cases}) == [
        "Results, float32, differ from those of the reference by 0.0003 at most (second).",
        "Results, int8, differ from those of the reference by 0.2 at most (second).",
    ]


@pytest.mark.parametrize("name", ROWS + ON_REQUEST)
def test_every_row_can_be_asked_for(name: str) -> None:
    found = row(name)
    assert found.name == name
    assert {side.function for side in found.sides.values()} <= set(vars(import_module(f"benchmarks.rows.{name}")))
    json.dumps([list(found.cases), [dict(side.options) for side in found.sides.values()]])
    if name in ROWS:
        assert f"<!-- measured: {name} -->" in report.PAGE.read_text()
