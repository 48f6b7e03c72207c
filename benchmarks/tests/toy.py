"""Sides for the test of the harness, without any library."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.call import Call
from benchmarks.row import Case, Row, Side


def _side(name: str, off: float = 0.0) -> Callable[[Path, Case], Any]:
    """Notes each call and its cores, and returns numbers."""

    def side(folder: Path, case: Case) -> Any:
        def run() -> list[list[float]]:
            print("what a library prints")
            with (folder / "calls").open("a") as file:
                file.write(f"{name} {case['size']} {len(os.sched_getaffinity(0))}\n")
            return [[case["size"] + off, 2.0], [0.0, 1.0]]

        return Call(run, before=lambda: None, memory=lambda: 1000)

    return side


first, second, wrong = _side("first"), _side("second", 1e-6), _side("wrong", 1.0)


def absent(folder: Path, case: Case) -> None:
    """Has nothing for any case."""


def raising(folder: Path, case: Case) -> Any:
    raise ValueError("no such model")


def dying(folder: Path, case: Case) -> Any:
    os._exit(3)


NAMES = ("first", "second", "wrong", "absent", "raising", "dying")
ROW = Row(
    name="toy",
    title="",
    cases=[{"size": 3}, {"size": 5}],
    sides={name: Side(function=name) for name in NAMES},
    cores=(1,),
    module="benchmarks.tests.toy",
)
