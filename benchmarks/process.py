"""A side's process, from the outside; `benchmarks.worker` is its inside."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals
from typing import IO, Any

THREAD_SETTINGS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "RAYON_NUM_THREADS",
)
QUIET = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore",
}


class Process:
    """A process that answers lines. `started` makes one."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[bytes]) -> None:
        self.process = process
        self.errors = errors

    def ask(self, **line: Any) -> dict[str, Any]:
        """The answer to a line; of a process that died ``{"failed": ...}``."""
        process = self.process
        try:
            print(json.dumps(line), file=process.stdin, flush=True)
            found = process.stdout.readline() if process.stdout else ""
        except BrokenPipeError:
            found = ""
        if found:
            answer: dict[str, Any] = json.loads(found)
            return answer
        code = process.wait()
        if code < 0:
            return {"failed": f"the process was ended by {Signals(-code).name}"}
        self.errors.seek(0)
        last = self.errors.read().decode(errors="replace").strip().splitlines()[-1:]
        return {"failed": f"the process ended with {code}: {' '.join(last)}"}


@contextmanager
def started(
    python: str, function: str, folder: Path, cores: Sequence[int], settings: Mapping[str, str]
) -> Iterator[Process]:
    """A process of `benchmarks.worker`, which ends when it is left."""
    words = [python, "-m", "benchmarks.worker", function, str(folder), ",".join(map(str, cores))]
    threads = dict.fromkeys(THREAD_SETTINGS, str(len(cores)))
    environment = {**os.environ, **QUIET, **threads, **settings}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(words, stderr=errors, env=environment, **pipes)
        try:
            yield Process(process, errors)
        finally:
            with suppress(BrokenPipeError):  # of a process that died
                process.communicate()
