"""``triclip convert`` beside ``cp`` of the same file: ViT-L/14 in float32, 1.7 GB, to each format; needs 7 GB of disk.

Both end with the file on the disk (``sync``). A conversion reads its result back and compares digests unless told
otherwise. Memory is the peak of the process and of those it starts; the aim is at most twice the largest tensor, which
has 152 MB, and 64 MB above that of a bare interpreter.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.call import Call
from benchmarks.row import Case, Row, Side


def _process(words: list[str]) -> int:
    """The peak resident bytes of a process and its children."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    os.sync()
    return usage.ru_maxrss * 1024


def _side(folder: Path, words: Callable[[Path], list[str]]) -> Call:
    """A process that writes what the next call has removed first."""
    directory = Path(tempfile.mkdtemp(dir=folder))
    peak = [0]

    def empty() -> None:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        os.sync()

    def run() -> None:
        peak[0] = _process(words(directory / "result"))

    return Call(run, before=empty, memory=lambda: peak[0])


def cp(folder: Path, case: Case) -> Any:
    source = str(folder / "vit_l_14" / "model.safetensors")
    return _side(folder, lambda result: ["cp", source, str(result)])


def convert(folder: Path, case: Case) -> Any:
    words = [sys.executable, "-m", "weights_convert", "convert", str(folder / "vit_l_14")]
    return _side(folder, lambda result: [*words, str(result), "--to", case["to"], "--verify", case["verify"]])


FORMATS = ("hf", "openai", "open_clip", "hf-tf", "hf-flax", "keras-hub", "keras", "nnx")
ROW = Row(
    name="convert",
    title="Converting ViT-L/14 (1.7 GB)",
    cases=[{"to": name} for name in FORMATS],
    sides={
        "cp": Side(function="cp"),
        "triclip convert": Side(function="convert", options={"verify": "tensors"}),
        "triclip convert, not read back": Side(function="convert", options={"verify": "none"}),
    },
    materials=("vit_l_14",),
    cores=(2,),
    memory=True,
    warm_ups=1,
)
