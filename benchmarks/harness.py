"""Sides in turns: each in a process of its own, first checked to give the same results, then measured in rounds.

In a case the sides take turns, A B C A B C, so that what slows the computer slows all alike; a ratio is that of two
sides in one round, and what is reported is the median over the rounds. A side whose results differ from the first one's
by more than they may is not timed.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol

from benchmarks.comparison import compare
from benchmarks.machine import processor
from benchmarks.process import Process, started
from benchmarks.row import Case, Row

LEAST_ROUNDS, MOST_ROUNDS = 3, 9
SETTLE = 0.03
"""Seconds between turns, in which threads of the side before stop to wait actively."""
Answer = dict[str, Any]
Start = Callable[[str], AbstractContextManager[Process]]


class Turns(Protocol):
    """How the processes of a row are asked."""

    def prepare(self, side: str, case: Case, save: Path) -> Answer:
        """Makes a side ready for a case and writes its result; with ``seconds``, about what a round will take."""

    def run(self, side: str, case: Case) -> Answer:
        """One round of a side: ``seconds``, ``cpu`` and ``memory``."""


class Persistent:
    """A process for each side, which stays while the cases change."""

    def __init__(self, start: Start, stack: ExitStack, warm_ups: int) -> None:
        self.start = start
        self.warm_ups = warm_ups
        self.stack = stack
        self.processes: dict[str, Process] = {}
        self.times: dict[str, int] = {}

    def prepare(self, side: str, case: Case, save: Path) -> Answer:
        if side not in self.processes:
            self.processes[side] = self.stack.enter_context(self.start(side))
        answer = self.processes[side].ask(prepare=case, save=str(save), warm_ups=self.warm_ups)
        self.times[side] = answer.get("times", 1)
        return answer

    def run(self, side: str, case: Case) -> Answer:
        return self.processes[side].ask(run=self.times[side])


class Fresh:
    """A process for each measurement, whose first call is the measured one."""

    def __init__(self, start: Start) -> None:
        self.start = start

    def prepare(self, side: str, case: Case, save: Path) -> Answer:
        start = time.perf_counter()
        answer = self._once(side, case, str(save))  # it also brings files into the page cache
        return {**answer, "seconds": time.perf_counter() - start}  # of a round, most goes to starting the process

    def run(self, side: str, case: Case) -> Answer:
        return self._once(side, case, None)

    def _once(self, side: str, case: Case, save: str | None) -> Answer:
        with self.start(side) as process:
            answer = process.ask(prepare=case, save=None, warm_ups=0)
            return answer if {"failed", "missing"} & set(answer) else process.ask(run=1, save=save)


class Bench:
    """How rows are measured: by which interpreter, with what materials, and which sides of them."""

    def __init__(self, python: str, folder: Path, *, rounds: int | None = None, sides: Iterable[str] = ()) -> None:
        self.python = python
        self.folder = folder
        self.rounds = rounds
        self.wanted = set(sides)

    def measure(self, row: Row) -> Iterator[dict[str, Any]]:
        """All cases of a row, on as many cores as it wants and there are."""
        instructions = processor()["instructions"]
        available = sorted(os.sched_getaffinity(0), reverse=True)
        for count in row.cores:
            if count > len(available):
                print(f"{row.name}: {count} cores are not there, {len(available)} are", file=sys.stderr)
                continue
            cores = available[:count]

            def start(side: str, cores: Sequence[int] = cores) -> AbstractContextManager[Process]:
                function = f"{row.module or f'benchmarks.rows.{row.name}'}:{row.sides[side].function}"
                return started(self.python, function, self.folder, cores, row.sides[side].environment)

            with ExitStack() as stack:
                turns = Fresh(start) if row.fresh else Persistent(start, stack, row.warm_ups)
                for case in row.cases:
                    reason = row.left_out(case, instructions)
                    if reason:
                        yield {"case": case, "cores": count, "left_out": reason, "rounds": 0, "sides": {}}
                        continue
                    yield {"case": case, "cores": count, **self._case(row, case, turns)}

    def _case(self, row: Row, case: Case, turns: Turns) -> dict[str, Any]:
        sides = [side for side in row.sides if not self.wanted or side in self.wanted]
        with tempfile.TemporaryDirectory() as temporary:
            results = {side: Path(temporary, f"{number}.npy") for number, side in enumerate(sides)}
            given = {side: {**case, **row.sides[side].options} for side in sides}
            answers = {side: turns.prepare(side, given[side], results[side]) for side in sides}
            compared = compare(results, row, case)
        known: dict[str, dict[str, Any]] = {}
        for side, answer in answers.items():
            known[side] = {key: answer[key] for key in ("failed", "missing") if key in answer} or compared.get(side, {})
        running = [side for side in sides if not {"failed", "missing"} & set(known[side])]
        rounds: list[dict[str, Answer]] = []
        for _ in range(self._rounds(row, sum(answers[side].get("seconds", 0) for side in running)) if running else 0):
            rounds.append({})
            for side in running:
                time.sleep(SETTLE)
                rounds[-1][side] = turns.run(side, given[side])
        return summarize(rounds, known)

    def _rounds(self, row: Row, seconds: float) -> int:
        if self.rounds:
            return self.rounds
        return min(MOST_ROUNDS, max(LEAST_ROUNDS, int(row.budget / max(seconds, 1e-3))))


def summarize(rounds: Sequence[Mapping[str, Mapping[str, Any]]], known: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, ratios to the first side within each, and every measurement."""
    for turn in rounds:
        for side, found in turn.items():
            if "failed" in found:
                known[side]["failed"] = found["failed"]
    working = [side for side in known if rounds and side in rounds[0] and "failed" not in known[side]]
    for side in working:
        for kind in ("seconds", "cpu"):
            taken, base = ([turn[name][kind] for turn in rounds] for name in (side, working[0]))
            known[side][kind] = rounded(statistics.median(taken))
            ratios = [one / max(other, 1e-9) for one, other in zip(taken, base, strict=True)]
            known[side]["ratio" if kind == "seconds" else "cpu_ratio"] = rounded(statistics.median(ratios))
        known[side]["all_seconds"] = [rounded(turn[side]["seconds"]) for turn in rounds]
        known[side]["memory"] = max(turn[side]["memory"] for turn in rounds)
    return {"rounds": len(rounds), "sides": dict(known)}


def rounded(value: float) -> float:
    """Four digits, which is more than a measurement repeats."""
    return float(f"{value:.4g}")


def print_case(row: str, found: Mapping[str, Any]) -> None:
    """What was measured, for whoever waits."""
    settings = ", ".join(f"{key} {value}" for key, value in found["case"].items())
    rounds = found.get("left_out", f"{found['rounds']} rounds")
    print(f"{row}: {settings}; {found['cores']} cores, {rounds}", flush=True)
    for side, known in found["sides"].items():
        if "seconds" in known:
            apart = f"{known['difference']:9.1e}" if "difference" in known else ""
            numbers = f"{1e3 * known['seconds']:10.1f} ms {known['ratio']:7.3f} {known['cpu_ratio']:7.3f} (CPU)"
            numbers += f" {known['memory'] / 2**20:7.0f} MiB"
            print(f"  {side:<28}{numbers} {apart}", flush=True)
        elif "failed" in known:
            print(f"  {side:<28}  {known['failed'][:200]}", flush=True)
