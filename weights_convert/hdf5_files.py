"""HDF5 files as Keras writes them: plain arrays in groups, and nothing else of what the format can do.

h5py is asked for the table of contents only; the arrays are mapped where they lie. Links that leave their place,
virtual and external data, compression (whose output no file size bounds) and odd dtypes are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from clip_core.errors import CheckpointFormatError, MissingExtraError
from weights_convert.tensors import BFLOAT16, DType, Tensor, constant, mapped

_MAX_DATASETS = 100_000
_MAX_DEPTH = 32
_MAX_ATTRIBUTE_BYTES = 64_000  # HDF5 keeps attributes in an object header of at most 64 KiB
_DTYPES: dict[str, DType] = {code: np.dtype(code) for code in ("<f8", "<f4", "<f2", "<i4", "<i8")}


def read_hdf5(path: Path) -> dict[str, Tensor]:
    """The arrays of a file by their path in it.

    Raises:
        MissingExtraError: h5py is not installed.
        CheckpointFormatError: cut or corrupt, or holding anything but plain arrays in groups.
    """
    h5py = _h5py(path)
    try:
        with h5py.File(path, "r") as file:
            if file.userblock_size:
                raise _refused(path, "it begins with a user block")
            return dict(_datasets(h5py, file, path))
    except CheckpointFormatError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError, OverflowError) as error:
        # all that h5py makes of the errors of the C library
        problem = f"{path}: not a whole HDF5 file: {str(error)[:200]}. Fetch or save it again."
        raise CheckpointFormatError(problem) from error


def _h5py(path: Path) -> ModuleType:
    try:
        import h5py
    except ImportError:
        raise MissingExtraError("h5py", "convert", f"{path}: an HDF5 file, which") from None
    module: ModuleType = h5py
    return module


def _refused(path: Path, problem: str) -> CheckpointFormatError:
    return CheckpointFormatError(
        f"{path}: refused, since {problem}. Expected plain, uncompressed arrays in groups, as Keras writes them."
    )


def _datasets(h5py: ModuleType, file: Any, path: Path) -> Iterator[tuple[str, Tensor]]:
    """Every array once, by a walk that follows hard links only and enters no group twice."""
    entered = set()
    found = 0
    pending = [("", file, 0)]
    while pending:
        prefix, group, depth = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in entered or depth > _MAX_DEPTH:
            raise _refused(path, f"its group {prefix[:100]!r} is linked in a circle or nested too deep")
        entered.add(address)
        for key in group:
            found += 1
            name = f"{prefix}{key}"
            if found > _MAX_DATASETS:
                raise _refused(path, f"it has more than {_MAX_DATASETS} objects")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise _refused(path, f"{name[:100]!r} is a link to somewhere else")
            value = group[key]
            if isinstance(value, h5py.Group):
                pending.append((f"{name}/", value, depth + 1))
            elif isinstance(value, h5py.Dataset):
                yield name, _tensor(h5py, value, name, path)
            else:
                raise _refused(path, f"{name[:100]!r} is neither group nor array")


def _tensor(h5py: ModuleType, dataset: Any, name: str, path: Path) -> Tensor:
    properties = dataset.id.get_create_plist()
    if properties.get_nfilters() or properties.get_external_count():
        raise _refused(path, f"{name[:100]!r} is compressed or stored elsewhere")
    if dataset.shape is None:
        raise _refused(path, f"{name[:100]!r} is empty")
    dtype = _dtype(dataset, name, path)
    shape = tuple(int(size) for size in dataset.shape)
    size = math.prod(shape) * dtype.itemsize
    layout = properties.get_layout()
    if layout == h5py.h5d.COMPACT and size <= 2**16:  # lies in the object's header, of at most 64 KiB
        return constant(dataset[()].reshape(shape).view(dtype))
    offset = dataset.id.get_offset()
    if layout != h5py.h5d.CONTIGUOUS or dataset.id.get_storage_size() != size or (size and offset is None):
        raise _refused(path, f"{name[:100]!r} {list(shape)} is not stored whole, in one piece of {size} bytes")
    if size and offset + size > path.stat().st_size:
        raise _refused(path, f"{name[:100]!r} ends at byte {offset + size}, beyond the end of the file")
    return mapped(path, offset or 0, dtype, shape)


def _dtype(dataset: Any, name: str, path: Path) -> DType:
    """Keras stores bfloat16 as two opaque bytes and says so in an attribute."""
    code: str = dataset.dtype.str
    if code == "|V2" and dataset.attrs.get("dtype") == "bfloat16":
        return BFLOAT16
    if code not in _DTYPES:
        raise _refused(path, f"{name[:100]!r} has the dtype {code}")
    return _DTYPES[code]


def write_hdf5(
    path: Path, tensors: Mapping[str, Tensor], attributes: Mapping[str, Mapping[str, str | Sequence[str]]]
) -> None:
    """Writes arrays by their paths, one at a time.

    Args:
        path: the file, overwritten.
        tensors: path in the file to array.
        attributes: path of a group to its attributes; a sequence of texts is cut into numbered attributes where it is
            too long for one, as Keras does.
    """
    h5py = _h5py(path)
    with h5py.File(path, "w") as file:
        for name, tensor in tensors.items():
            dataset = file.create_dataset(name, data=np.asarray(tensor.read(), order="C"))
            if tensor.dtype == BFLOAT16:
                dataset.attrs["dtype"] = "bfloat16"
        for group, values in attributes.items():
            for key, value in values.items():
                for part_key, part in _attribute_parts(key, value):
                    file.require_group(group).attrs[part_key] = part


def _attribute_parts(key: str, value: str | Sequence[str]) -> list[tuple[str, Any]]:
    if isinstance(value, str):
        return [(key, value.encode())]
    texts = np.array([text.encode() for text in value])
    count = math.ceil(texts.nbytes / _MAX_ATTRIBUTE_BYTES)
    if count <= 1:
        return [(key, texts)]
    return [(f"{key}{number}", part) for number, part in enumerate(np.array_split(texts, count))]
