"""Calls of a model that are written down, run in a process of their own, and answered as arrays in a file.

Frameworks do not share a process here (TensorFlow imported before triton crashes), so whatever compares two of them
exchanges ``.npz`` files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conformance_tests.threads import ONE_THREAD

Results = dict[str, dict[str, NDArray[Any]]]
"""Arrays by name of job, then of field."""

_ENVIRONMENT = {
    **ONE_THREAD,
    "HF_HUB_OFFLINE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call.

    Attributes:
        name: of the result.
        checkpoint: directory from which the model is loaded.
        kind: of the model, as adapters name it.
        method: of the model to call; nothing for the model itself.
        inputs: arrays by name of argument; arrays in a file when written down.
        options: other arguments.
        weights: also report the model's weights, as fields ``weights.NAME``.
        save_to: directory in which the model is then saved, or nothing.
    """

    name: str
    checkpoint: str
    kind: str = "model"
    method: str = ""
    inputs: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: bool = False
    save_to: str = ""


def write_jobs(jobs: Iterable[Job], directory: Path) -> Path:
    """Writes jobs and their inputs into a directory; returns the file that `read_jobs` wants."""
    described, inputs = [], {}
    for job in jobs:
        inputs.update({f"{job.name}|{name}": value for name, value in job.inputs.items()})
        described.append({**asdict(job), "inputs": list(job.inputs)})
    np.savez(directory / "inputs.npz", **inputs)
    (directory / "jobs.json").write_text(json.dumps(described))
    return directory / "jobs.json"


def read_jobs(file: Path) -> list[Job]:
    """The jobs in a file of `write_jobs`."""
    with np.load(file.with_name("inputs.npz")) as inputs:
        return [
            Job(**{**job, "inputs": {name: inputs[f"{job['name']}|{name}"] for name in job["inputs"]}})
            for job in json.loads(file.read_text())
        ]


def write_results(results: Results, file: Path) -> None:
    """Writes arrays so that `read_results` finds them."""
    np.savez(file, **{f"{job}|{name}": value for job, fields in results.items() for name, value in fields.items()})


def read_results(file: Path) -> Results:
    """The arrays in a file of `write_results`."""
    results: Results = {}
    with np.load(file) as arrays:
        for key in arrays.files:
            job, name = key.split("|")
            results.setdefault(job, {})[name] = arrays[key]
    return results


def run_jobs(module: str, framework: str, jobs: Iterable[Job], environment: Mapping[str, str] | None = None) -> Results:
    """Runs jobs with ``python -m module framework JOBS RESULTS`` in a new process.

    Raises:
        RuntimeError: the process failed; the end of what it printed is in the message.
    """
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        command = [sys.executable, "-m", module, framework, str(write_jobs(jobs, directory))]
        results = directory / "results.npz"
        variables = {**os.environ, **_ENVIRONMENT, **(environment or {})}
        done = subprocess.run([*command, str(results)], env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            end = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
            raise RuntimeError(f"{' '.join(command)} ended with exit code {done.returncode}:\n{end}")
        return read_results(results)


def main(run: Callable[[str, Job], dict[str, NDArray[Any]]]) -> None:
    """What a module that `run_jobs` starts does."""
    framework, jobs, results = sys.argv[1:]
    write_results({job.name: run(framework, job) for job in read_jobs(Path(jobs))}, Path(results))
