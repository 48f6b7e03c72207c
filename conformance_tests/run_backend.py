"""Runs jobs with a backend of this project: ``python -m conformance_tests.run_backend torch JOBS RESULTS``."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from conformance_tests.adapter import flat, load_adapter
from conformance_tests.jobs import Job, main


@lru_cache(maxsize=1)
def _loaded(backend: str, kind: str, checkpoint: str) -> Any:
    return load_adapter(backend).load(kind, Path(checkpoint))


def run(backend: str, job: Job) -> dict[str, NDArray[Any]]:
    """Every array that a job gives."""
    adapter = load_adapter(backend)
    model = _loaded(backend, job.kind, job.checkpoint)
    fields: dict[str, NDArray[Any]] = {}
    if job.inputs:
        fields |= flat(adapter.call(model, job.method, **job.inputs, **job.options), adapter.to_array)
    if job.weights:
        fields |= {f"weights.{name}": value for name, value in adapter.weights(model).items()}
    if job.save_to:
        adapter.save(model, Path(job.save_to))
    return fields


if __name__ == "__main__":
    main(run)
