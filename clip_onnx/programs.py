"""Graphs as ONNX Runtime runs them, in this process: the weights stay where they are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from clip_onnx.files import large_constants, model_message
from clip_onnx.graph import Graph

Arrays = Mapping[str, NDArray[Any]]

_ERRORS_ONLY = 3


class Program:
    """A graph that can be run.

    Args:
        graph: is not needed afterwards; the arrays in it are, and must not change.
        threads: as of `thread_count`.
    """

    def __init__(self, graph: Graph, threads: int | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = thread_count(threads)
        self._kept = large_constants(graph)
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in self._kept.values()]
        options.add_external_initializers(list(self._kept), values)
        model = b"".join(model_message(graph, {name: {"location": name} for name in self._kept}))
        self._session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        self._inputs = {value.name for value in self._session.get_inputs()}
        self._outputs = [value.name for value in self._session.get_outputs()]

    def run(self, inputs: Arrays, outputs: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
        """The outputs of those names, or all of them; of the inputs those that the graph has."""
        names = [*outputs] or self._outputs
        given = {name: value for name, value in inputs.items() if name in self._inputs}
        return dict(zip(names, self._session.run(names, given), strict=True))


def thread_count(threads: int | None) -> int:
    """How many threads compute: so many, or as the variable ``OMP_NUM_THREADS`` says, which frameworks read too.

    Without either, as many as the process may use cores, if it may not use all of the machine's; otherwise 0, which
    leaves it to ONNX Runtime: one for each core.
    """
    if threads is not None:
        return threads
    said = os.environ.get("OMP_NUM_THREADS", "")
    if said.isdecimal() and int(said) > 0:
        return int(said)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return allowed if allowed < (os.cpu_count() or 0) else 0
