"""Graphs as ONNX files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.files import written_beside
from clip_onnx import protobuf
from clip_onnx.graph import IR_VERSION, OPSET, Graph
from clip_onnx.protobuf import Message

LARGEST_FILE = 1_900_000_000
"""Bytes of constants that still go into the file itself: no message of protobuf is larger than 2 GiB."""
_INSIDE = 1024  # bytes; what is smaller can be a shape, which runtimes want to see
_ALIGNED = 4096  # bytes; what begins at a page can be mapped


def model_message(
    graph: Graph,
    places: Mapping[str, Mapping[str, str]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Message:
    """The model as ONNX describes it.

    Args:
        places: by their names, where the constants are that do not lie in the model.
        metadata: to be written into it.
    """
    places = places or {}
    constants = [protobuf.tensor(name, array, places.get(name)) for name, array in graph.constants.items()]
    program = protobuf.text(2, "clip")
    for field, messages in ((1, graph.nodes), (5, constants), (11, graph.inputs), (12, graph.outputs)):
        for message in messages:
            program += protobuf.part(field, message)
    opset = [*protobuf.text(1, ""), *protobuf.integer(2, OPSET)]
    head = [*protobuf.integer(1, IR_VERSION), *protobuf.text(2, "triclip"), *protobuf.part(8, opset)]
    return [*head, *protobuf.part(7, program), *protobuf.pairs(14, metadata or {})]


def large_constants(graph: Graph) -> dict[str, NDArray[Any]]:
    """The constants that can lie outside of the model, in row-major order."""
    return {name: np.ascontiguousarray(array) for name, array in graph.constants.items() if array.nbytes > _INSIDE}


def write_model(
    graph: Graph, path: Path, metadata: Mapping[str, str] | None = None, largest_file: int = LARGEST_FILE
) -> tuple[Path, ...]:
    """Writes the model, and what is too large for one file into another beside it; the paths of what was written.

    Files get their names when they are whole. The name of the one with the weights says what is in it, so that a model
    that is replaced keeps its own until the moment at which its file is another.
    """
    if sum(array.nbytes for array in graph.constants.values()) <= largest_file:
        _write(path, model_message(graph, metadata=metadata))
        _remove_data(path)
        return (path,)
    large = large_constants(graph)
    data = path.with_name(f"{path.name}.{_digest(large)}.data")
    places = {}
    with written_beside(data) as temporary, open(temporary, "wb") as file:
        for name, array in large.items():
            file.write(bytes(-file.tell() % _ALIGNED))
            places[name] = {"location": data.name, "offset": str(file.tell()), "length": str(array.nbytes)}
            file.write(protobuf.content(array))
    _write(path, model_message(graph, places, metadata))
    _remove_data(path, data)
    return (path, data)


def _write(path: Path, model: Message) -> None:
    with written_beside(path) as temporary, open(temporary, "wb") as file:
        file.writelines(model)


def _remove_data(path: Path, but: Path | None = None) -> None:
    """Removes weights of models that had this name before."""
    old = re.compile(rf"{re.escape(path.name)}\.[0-9a-f]{{16}}\.data")
    for file in path.parent.iterdir():
        if old.fullmatch(file.name) and file != but:
            file.unlink()


def _digest(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(protobuf.content(array))
    return digest.hexdigest()[:16]
