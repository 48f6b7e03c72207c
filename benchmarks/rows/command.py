"""The command from start to end: ``triclip classify`` over JPEGs, beside a pipeline and a loop written by hand.

Every measurement is of whole processes, ten labels, ViT-B/32. What is compared is the best label of each picture.
``python -m benchmarks command --case pictures=2000`` measures as many; beyond those that were made, the same have other
names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.call import Call
from benchmarks.row import Case, Row, Side

LABELS = ("cat", "dog", "car", "tree", "house", "boat", "bird", "flower", "street", "mountain")


def _files(made: Path, count: int, more: Path) -> list[str]:
    """So many pictures: those that were made, and then links to the same."""
    there = sorted(made.absolute().glob("*.jpg"))
    for number in range(len(there), count):
        (more / f"{number:06}.jpg").symlink_to(there[number % len(there)])
    return [str(file) for file in [*there, *sorted(more.iterdir())]][:count]


def _side(words: Callable[[list[str]], list[str]], folder: Path, case: Case) -> Call:
    """A process that prints a JSON object with the best label for each picture."""
    peak = [0]

    def run() -> list[int]:
        with TemporaryDirectory() as more:
            command = words(_files(folder / "jpegs", case["pictures"], Path(more)))
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            assert process.stdout is not None
            printed = process.stdout.read().splitlines()
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        peak[0] = usage.ru_maxrss * 1024
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}")
        return [LABELS.index(json.loads(line)["labels"][0]["label"]) for line in printed]

    return Call(run, before=lambda: None, memory=lambda: peak[0])


def triclip(folder: Path, case: Case) -> Any:
    words = [sys.executable, "-m", "triclip", "classify", "--model", str(folder / "hf"), "--backend", case["backend"]]
    words += ["--device", "cpu", "--json", *(f"--label={label}" for label in LABELS)]
    return _side(lambda files: [*words, *files], folder, case)


def by_hand(folder: Path, case: Case) -> Any:
    """A program of `benchmarks.by_hand`."""
    words = [sys.executable, "-m", "benchmarks.by_hand", case["library"], str(folder), ",".join(LABELS)]
    return _side(lambda files: [*words, *files], folder, case)


def limit(folder: Path, case: Case) -> Any:
    """Importing a framework alone, which one picture cannot be faster than."""
    if case["pictures"] != 1:
        return None

    def run() -> None:
        subprocess.run([sys.executable, "-c", f"import {case['module']}"], check=True, stderr=subprocess.DEVNULL)

    return Call(run, before=lambda: None, memory=lambda: 0)


ROW = Row(
    name="command",
    title="triclip classify, start included",
    cases=[{"pictures": 1}, {"pictures": 100}],
    sized="pictures",
    sides={
        "transformers pipeline": Side(function="by_hand", options={"library": "transformers"}),
        "open_clip by hand": Side(function="by_hand", options={"library": "open_clip"}),
        **{
            f"triclip {backend}": Side(function="triclip", options={"backend": backend})
            for backend in ("torch", "tf", "flax", "onnx")
        },
        **{
            f"limit: import {module}": Side(function="limit", options={"module": module})
            for module in ("torch", "tensorflow", "jax", "onnxruntime")
        },
    },
    materials=("hf", "open_clip", "jpegs"),
    within=0,
    warm_ups=1,
    cores=(2,),
    memory=True,
    budget=60,
)
