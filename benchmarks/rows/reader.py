"""Triclip's reader of safetensors files beside the package: 605 MB, in a process of its own each time.

*open* asks for the layout of every tensor; *read* also sums every tensor, one at a time, and lets it go; *hold* keeps
them all. Memory is the peak of what is no mapped file's, whose pages can be dropped at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.call import Call
from benchmarks.row import Case, Row, Side
from benchmarks.worker import status_bytes


def _side(case: Case, opened: Callable[[], tuple[Iterable[str], Callable[[str], Any]]]) -> Call:
    import_module("ml_dtypes")  # and NumPy, which one of the two would import while it is measured
    before = status_bytes("RssAnon")
    most = [0]

    def run() -> None:
        names, get = opened()
        held = []
        for name in names if case["task"] != "open" else ():
            value = get(name)
            value.sum()
            most[0] = max(most[0], status_bytes("RssAnon") - before)
            if case["task"] == "hold":
                held.append(value)

    return Call(run, memory=lambda: max(most[0], status_bytes("RssAnon") - before))


def package(folder: Path, case: Case) -> Any:
    from safetensors import safe_open

    def opened() -> Any:
        file = safe_open(folder / "hf" / "model.safetensors", framework="np")
        return {name: file.get_slice(name).get_shape() for name in file.keys()}, file.get_tensor  # noqa: SIM118

    return _side(case, opened)


def triclip(folder: Path, case: Case) -> Any:
    from clip_core.checkpoint.safetensors_file import SafetensorsFile

    def opened() -> Any:
        file = SafetensorsFile(folder / "hf" / "model.safetensors")
        return {name: entry.shape for name, entry in file.entries.items()}, file.__getitem__

    return _side(case, opened)


ROW = Row(
    name="reader",
    title="Reading a safetensors file (605 MB)",
    cases=[{"task": task} for task in ("open", "read", "hold")],
    sides={"safetensors": Side(function="package"), "triclip": Side(function="triclip")},
    materials=("hf",),
    fresh=True,
    cores=(1,),
    memory=True,
)
