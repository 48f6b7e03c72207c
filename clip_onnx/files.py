"""Graphs as ONNX files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper

from clip_core.checkpoint.files import written_beside
from clip_onnx.graph import IR_VERSION, OPSET, Graph, tensor_type

LARGEST_FILE = 1_900_000_000
"""Bytes of constants that still go into the file itself: no message of protobuf is larger than 2 GiB."""
_INSIDE = 1024  # bytes; what is smaller can be a shape, which runtimes want to see
_ALIGNED = 4096  # bytes; what begins at a page can be mapped


def model_proto(
    graph: Graph, elsewhere: Mapping[str, TensorProto] | None = None, metadata: Mapping[str, str] | None = None
) -> ModelProto:
    """The model as ONNX describes it.

    Args:
        elsewhere: by its name, what says where a constant is that does not lie in the model.
        metadata: to be written into it.
    """
    elsewhere = elsewhere or {}
    constants = [elsewhere.get(name) or _inside(name, array) for name, array in graph.constants.items()]
    program = helper.make_graph(graph.nodes, "clip", graph.inputs, graph.outputs, constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(program, opset_imports=[opset], ir_version=IR_VERSION, producer_name="triclip")
    helper.set_model_props(model, dict(metadata or {}))
    return model


def large_constants(graph: Graph) -> dict[str, NDArray[Any]]:
    """The constants that can lie outside of the model, in row-major order."""
    return {name: np.ascontiguousarray(array) for name, array in graph.constants.items() if array.nbytes > _INSIDE}


def external(name: str, array: NDArray[Any], **where: str) -> TensorProto:
    """What a model says of a constant that lies elsewhere."""
    return TensorProto(
        name=name,
        dims=array.shape,
        data_type=tensor_type(array.dtype),
        data_location=TensorProto.EXTERNAL,
        external_data=[StringStringEntryProto(key=key, value=value) for key, value in where.items()],
    )


def write_model(
    graph: Graph, path: Path, metadata: Mapping[str, str] | None = None, largest_file: int = LARGEST_FILE
) -> tuple[Path, ...]:
    """Writes the model, and what is too large for one file into another beside it; the paths of what was written.

    Files get their names when they are whole. The name of the one with the weights says what is in it, so that a model
    that is replaced keeps its own until the moment at which its file is another.
    """
    if sum(array.nbytes for array in graph.constants.values()) <= largest_file:
        _write(path, model_proto(graph, metadata=metadata))
        _remove_data(path)
        return (path,)
    large = large_constants(graph)
    data = path.with_name(f"{path.name}.{_digest(large)}.data")
    elsewhere = {}
    with written_beside(data) as temporary, open(temporary, "wb") as file:
        for name, array in large.items():
            file.write(bytes(-file.tell() % _ALIGNED))
            place = {"location": data.name, "offset": str(file.tell()), "length": str(array.nbytes)}
            elsewhere[name] = external(name, array, **place)
            file.write(_content(array))
    _write(path, model_proto(graph, elsewhere, metadata))
    _remove_data(path, data)
    return (path, data)


def _write(path: Path, model: ModelProto) -> None:
    with written_beside(path) as temporary:
        temporary.write_bytes(model.SerializeToString())


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
        digest.update(_content(array))
    return digest.hexdigest()[:16]


def _content(array: NDArray[Any]) -> Any:
    """The bytes of an array in row-major order, as they are in files: the least first."""
    return np.asarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8)


def _inside(name: str, array: NDArray[Any]) -> TensorProto:
    content = _content(np.ascontiguousarray(array)).tobytes()
    return TensorProto(name=name, dims=array.shape, data_type=tensor_type(array.dtype), raw_data=content)
