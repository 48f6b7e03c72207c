"""The table of contents of an HDF5 file, made in a process of its own: ``python hdf5_contents.py < FILE`` prints JSON.

The C library under h5py can be made to loop, to crash or to take all memory by a file that was damaged on purpose. Here
that ends this process, which has limits, and nothing else. It imports nothing of Triclip, so that it starts fast. It
reads the file that its parent has opened, whatever lies under the file's name by now.

Prints ``{"arrays": [[name, dtype, shape, offset, content], ...]}``, where content is base64 for the few arrays that lie
in a header and have no offset; or ``{"refused": reason}``.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

MAX_DATASETS = 100_000
MAX_DEPTH = 32
CPU_SECONDS = 10
MEMORY_BYTES = 900_000_000
_DTYPES = ("<f8", "<f4", "<f2", "<i4", "<i8")
_HEADER_BYTES = 2**16  # HDF5 keeps compact arrays in an object header, which is not larger

Array = tuple[str, str, list[int], int, str]


class RefusedError(Exception):
    """The file does more than hold plain arrays in groups."""


def contents(opened: BinaryIO) -> list[Array]:
    """Every array of the file, if it holds nothing else."""
    import h5py

    with h5py.File(opened, "r") as file:
        if file.userblock_size:
            raise RefusedError("it begins with a user block")
        return list(_arrays(h5py, file, os.fstat(opened.fileno()).st_size))


def _arrays(h5py: Any, file: Any, file_size: int) -> Iterator[Array]:
    """Every array once, by a walk that follows hard links only and enters no group twice."""
    entered = set()
    found = 0
    pending = [("", file, 0)]
    while pending:
        prefix, group, depth = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in entered or depth > MAX_DEPTH:
            raise RefusedError(f"its group {prefix[:100]!r} is linked in a circle or nested too deep")
        entered.add(address)
        for key in group:
            found += 1
            name = f"{prefix}{key}"
            if found > MAX_DATASETS:
                raise RefusedError(f"it has more than {MAX_DATASETS} objects")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise RefusedError(f"{name[:100]!r} is a link to somewhere else")
            value = group[key]
            if isinstance(value, h5py.Group):
                pending.append((f"{name}/", value, depth + 1))
            elif isinstance(value, h5py.Dataset):
                yield _array(h5py, value, name, file_size)
            else:
                raise RefusedError(f"{name[:100]!r} is neither group nor array")


def _array(h5py: Any, dataset: Any, name: str, file_size: int) -> Array:
    shown = repr(name[:100])
    properties = dataset.id.get_create_plist()
    if properties.get_nfilters() or properties.get_external_count():
        raise RefusedError(f"{shown} is compressed or stored elsewhere")
    if dataset.shape is None:
        raise RefusedError(f"{shown} is empty")
    dtype = _dtype(dataset, shown)
    shape = [int(size) for size in dataset.shape]
    size = math.prod(shape) * dataset.dtype.itemsize
    layout = properties.get_layout()
    if layout == h5py.h5d.COMPACT and size <= _HEADER_BYTES:
        return name, dtype, shape, -1, base64.b64encode(dataset[()].tobytes()).decode()
    offset = dataset.id.get_offset()
    if layout != h5py.h5d.CONTIGUOUS or dataset.id.get_storage_size() != size or (size and offset is None):
        raise RefusedError(f"{shown} {shape} is not stored whole, in one piece of {size} bytes")
    if size and offset + size > file_size:
        raise RefusedError(f"{shown} ends at byte {offset + size}, beyond the end of the file")
    return name, dtype, shape, offset or 0, ""


def _dtype(dataset: Any, shown: str) -> str:
    """Keras stores bfloat16 as two opaque bytes and says so in an attribute."""
    code: str = dataset.dtype.str
    if code == "|V2" and dataset.attrs.get("dtype") == "bfloat16":
        return "bfloat16"
    if code not in _DTYPES:
        raise RefusedError(f"{shown} has the dtype {code}")
    return code


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # on Windows there is only the parent's timeout
        return
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))


if __name__ == "__main__":
    _limit_resources()
    try:
        json.dump({"arrays": contents(sys.stdin.buffer)}, sys.stdout)
    except RefusedError as refused:
        json.dump({"refused": str(refused)}, sys.stdout)
