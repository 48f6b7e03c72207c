"""The process of one side: it answers one line on standard output for each on standard input, both JSON.

    python -m benchmarks.worker MODULE:FUNCTION FOLDER CORE,CORE

``FUNCTION(FOLDER, case)`` makes ready what is not measured and returns a call without arguments that is, or ``None``
where the library has nothing for the case. The lines are ``{"prepare": case, "save": path}``, which warms up and writes
what the call returns, and ``{"run": times}``. What a library prints goes to standard error.

The process has its cores before it imports anything: libraries count them when they start. NumPy is not imported here,
since a process that is started begins with the peak memory of the one that starts it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.call import Call

SECONDS_OF_A_ROUND = 0.2
"""A round repeats a shorter call until it has lasted so long."""
MOST_CALLS = 500
LONG = 1.5
"""Seconds of a call after which there is no second one to warm up: whatever is compiled has been."""


def cpu_seconds() -> float:
    """Of this process and of those that it started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def status_bytes(name: str) -> int:
    """A line of ``/proc/self/status``: VmHWM is the peak since it was last reset, VmRSS what is resident."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def measure(call: Call, times: int) -> dict[str, Any]:
    """Seconds by the clock and of the CPU for one call, and how much memory rose above what was there before."""
    if call.before is not None:
        call.before()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    resident, start, cpu = status_bytes("VmRSS"), time.perf_counter(), cpu_seconds()
    for _ in range(times):
        call.run()
    taken = {"seconds": (time.perf_counter() - start) / times, "cpu": (cpu_seconds() - cpu) / times}
    return {**taken, "memory": call.memory() if call.memory else max(0, status_bytes("VmHWM") - resident)}


def save(path: str, call: Call, result: Any) -> None:
    """Writes what a call returned, to be compared with that of other sides; nothing if it returned nothing."""
    if result is None:
        return
    import numpy as np

    np.save(path, np.asarray(call.compared(result) if call.compared else result))


class Worker:
    """What is asked for, one method each."""

    def __init__(self, function: Callable[[Path, dict[str, Any]], Any], folder: Path) -> None:
        self.function = function
        self.folder = folder
        self.call: Call | None = None

    def prepare(self, case: dict[str, Any], path: str, warm_ups: int) -> dict[str, Any]:
        """Makes ready and warms up; how often to call in a round, and what one such round took."""
        found = self.function(self.folder, case)
        if found is None:
            return {"missing": True}
        self.call = found if isinstance(found, Call) else Call(found)
        for number in range(warm_ups):
            if self.call.before is not None:
                self.call.before()
            start = time.perf_counter()
            result = self.call.run()
            taken = time.perf_counter() - start
            if number == 0:
                save(path, self.call, result)
            del result
            if taken > LONG:
                break
        if not warm_ups:
            return {"times": 1}
        times = 1 if self.call.before else min(MOST_CALLS, max(1, round(SECONDS_OF_A_ROUND / max(taken, 1e-6))))
        return {"times": times, "seconds": times * taken}

    def answer(self, line: dict[str, Any]) -> dict[str, Any]:
        """What one line asks for."""
        if "prepare" in line:
            return self.prepare(line["prepare"], line["save"], line["warm_ups"])
        if self.call is None:
            raise RuntimeError("nothing was prepared")
        if line.get("save"):  # of a process that runs once, whose first call is the measured one
            results: list[Any] = []
            run = self.call.run
            once = replace(self.call, run=lambda: results.append(run()))
            found = measure(once, 1)
            save(line["save"], self.call, results[0])
            return found
        return measure(self.call, line["run"])


def main() -> None:
    name, folder, cores = sys.argv[1:]
    os.sched_setaffinity(0, map(int, cores.split(",")))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module, _, function = name.partition(":")
    worker = Worker(getattr(import_module(module), function), Path(folder))
    for line in sys.stdin:
        try:
            found = worker.answer(json.loads(line))
        except Exception as error:  # whatever a library does is what the side has to show
            found = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
