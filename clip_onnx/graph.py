"""An ONNX graph while it is written: nodes, constants, inputs and outputs. A value is the name of what a node gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_onnx import protobuf
from clip_onnx.protobuf import TYPES, Message, Size

OPSET = 20
"""The first that has GELU and LayerNormalization; OpenVINO and ONNX Runtime of the last years read it."""
IR_VERSION = 9
"""The one of that opset; a newer one is refused by older runtimes, for nothing that is used here."""

PRECISIONS = ("float32", "float16", "int8")
"""What weights of linear layers are stored as; all are computed in float32, but for products of int8."""


class Graph:
    """What is written.

    Attributes:
        weights: what `weight` takes from, by their names in checkpoints, in float32.
        precision: one of `PRECISIONS`.
        nodes: in the order in which they are computed.
        constants: by their names; those of weights have the weights' names.
        inputs, outputs: of the graph.
    """

    def __init__(self, weights: Mapping[str, NDArray[Any]], precision: str = "float32") -> None:
        self.weights = weights
        self.precision = precision
        self.nodes: list[Message] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.inputs: list[Message] = []
        self.outputs: list[Message] = []
        self._counts: dict[str, int] = {}

    def add(self, kind: str, *inputs: str, called: str = "", **attributes: Any) -> str:
        """The value of a new node; of its outputs the first.

        Args:
            kind: the operator.
            called: the name of the value; made from the operator's name unless given.
            attributes: of the operator.
        """
        return self.add_several(kind, *inputs, called=(called or self._name(kind),), **attributes)[0]

    def add_several(self, kind: str, *inputs: str, called: Sequence[str], **attributes: Any) -> Sequence[str]:
        """The values of a new node with several outputs."""
        self.nodes.append(protobuf.node(kind, inputs, called, attributes))
        return called

    def cast(self, value: str, dtype: str) -> str:
        """The value in another dtype."""
        return self.add("Cast", value, to=TYPES[dtype])

    def named(self, *names: str) -> tuple[str, ...]:
        """Names for values that nobody has yet."""
        return tuple(self._name(name) for name in names)

    def constant(self, value: Any, dtype: str = "float32", name: str = "") -> str:
        """A value that is the same in every run; the same small one is kept once."""
        array = np.asarray(value, dtype)
        if not name:
            listed = "x".join(map(str, array.ravel().tolist())) if array.size <= 8 else ""
            name = f"{array.dtype.name}[{listed}]{list(array.shape)}" if listed else self._name("constant")
        self.constants[name] = array
        return name

    def weight(self, name: str) -> str:
        """A weight in float32; in a graph of another precision it is stored as float16."""
        array = self.weights[name]
        if self.precision == "float32" or array.ndim < 2:
            return self.constant(array, name=name)
        return self.cast(self.narrow_weight(name), "float32")

    def narrow_weight(self, name: str) -> str:
        """A weight as it is stored in a graph of another precision than float32, or of that."""
        array = self.weights[name]
        return self.constant(array, "float32" if self.precision == "float32" else "float16", name)

    def input(self, name: str, dtype: str, sizes: Sequence[Size]) -> str:
        """An input of the graph."""
        self.inputs.append(protobuf.value_info(name, dtype, sizes))
        return name

    def output(self, name: str, value: str, sizes: Sequence[Size] | None = None) -> None:
        """Gives out a value of float32; sizes tell readers what to expect."""
        self.outputs.append(protobuf.value_info(name, "float32", sizes))
        self.add("Identity", value, called=name)

    def _name(self, kind: str) -> str:
        self._counts[kind] = count = self._counts.get(kind, -1) + 1
        return f"{kind}_{count}"
