"""The part of ONNX's protobuf messages that a graph needs, as bytes.

A message is a list of buffers, so that weights are copied nowhere: they go to the file as they lie in memory. Numbers
of fields are those of ``onnx.proto``, whose release 1.15 has opset 20.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Message: TypeAlias = list[Any]
"""Buffers of bytes, one after the other."""

Size = int | str
"""Of an axis; a name for one that is known only when the graph runs."""

TYPES = {"float32": 1, "uint8": 2, "int8": 3, "int32": 6, "int64": 7, "bool": 9, "float16": 10}
"""ONNX's numbers of dtypes."""
_FLOAT, _INT, _STRING, _INTS = 1, 2, 3, 7  # kinds of attributes
_EXTERNAL = 1
_VARINT, _BYTES, _FOUR_BYTES = 0, 2, 5  # how a field is written


def _varint(value: int) -> bytes:
    """Seven bits in each byte, the lowest first; a negative number as the 64 bits that stand for it."""
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def integer(field: int, value: int) -> Message:
    """A field that is a number or an enumeration."""
    return [_varint(field << 3 | _VARINT) + _varint(value)]


def text(field: int, value: str) -> Message:
    """A field that is a text."""
    content = value.encode()
    return [_varint(field << 3 | _BYTES) + _varint(len(content)) + content]


def part(field: int, message: Message) -> Message:
    """A field that is a message, or bytes."""
    length = sum(memoryview(buffer).nbytes for buffer in message)
    return [_varint(field << 3 | _BYTES) + _varint(length), *message]


def pairs(field: int, entries: Mapping[str, str]) -> Message:
    """A repeated field of keys with values."""
    return [b for key, value in entries.items() for b in part(field, [*text(1, key), *text(2, value)])]


def attribute(name: str, value: Any) -> Message:
    """``AttributeProto`` of a whole number, several, a fraction, or a text."""
    if isinstance(value, str):
        return [*text(1, name), *text(4, value), *integer(20, _STRING)]
    if isinstance(value, float):
        fraction = _varint(2 << 3 | _FOUR_BYTES) + struct.pack("<f", value)
        return [*text(1, name), fraction, *integer(20, _FLOAT)]
    if isinstance(value, int):
        return [*text(1, name), *integer(3, value), *integer(20, _INT)]
    return [*text(1, name), *(b for number in value for b in integer(8, number)), *integer(20, _INTS)]


def node(kind: str, inputs: Sequence[str], outputs: Sequence[str], attributes: Mapping[str, Any]) -> Message:
    """``NodeProto``, named as its first output."""
    return [
        *(b for name in inputs for b in text(1, name)),
        *(b for name in outputs for b in text(2, name)),
        *text(3, outputs[0]),
        *text(4, kind),
        *(b for name, value in attributes.items() for b in part(5, attribute(name, value))),
    ]


def value_info(name: str, dtype: str, sizes: Sequence[Size] | None) -> Message:
    """``ValueInfoProto`` of a tensor; without sizes a reader finds them itself."""
    tensor = integer(1, TYPES[dtype])
    if sizes is not None:
        axes = [integer(1, size) if isinstance(size, int) else text(2, size) for size in sizes]
        tensor += part(2, [b for axis in axes for b in part(1, axis)])
    return [*text(1, name), *part(2, part(1, tensor))]


def tensor(name: str, array: NDArray[Any], place: Mapping[str, str] | None = None) -> Message:
    """``TensorProto``, with its values, or with the place where they are."""
    described = [
        *(b for size in array.shape for b in integer(1, size)),
        *integer(2, TYPES[array.dtype.name]),
        *text(8, name),
    ]
    if place is None:
        return [*described, *part(9, [content(array)])]
    return [*described, *pairs(13, place), *integer(14, _EXTERNAL)]


def content(array: NDArray[Any]) -> memoryview:
    """The bytes of an array in row-major order, the least of a number first."""
    ordered = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data
