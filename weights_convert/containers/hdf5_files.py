"""HDF5 files as Keras writes them: plain arrays in groups, and nothing else of what the format can do.

h5py is asked for the table of contents only, in a process of its own (see `hdf5_contents`); the arrays are read where
they lie. Links that leave their place, virtual and external data, compression (whose output no file size bounds) and
odd dtypes are refused.
"""

from __future__ import annotations

import base64
import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clip_core.checkpoint.sources import SourceFile
from clip_core.checkpoint.tensors import BFLOAT16, Tensor, constant, contiguous
from clip_core.errors import CheckpointFormatError
from weights_convert.containers import hdf5_contents
from weights_convert.containers.kept_failure import KeptFailure
from weights_convert.containers.packages import require_package

_SECONDS = 600  # the process has a limit of its own, on the time that it computes
_MAX_ATTRIBUTE_BYTES = 64_000  # HDF5 keeps attributes in an object header of at most 64 KiB


def read_hdf5(source: SourceFile) -> dict[str, Tensor]:
    """The arrays of a file by their path in it.

    Raises:
        MissingExtraError: h5py is not installed.
        CheckpointFormatError: cut or corrupt, or holding anything but plain arrays in groups.
    """
    path = source.path
    require_package("hdf5", f"{path}: an HDF5 file, which")
    command = [sys.executable, "-P", hdf5_contents.__file__]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    try:
        ended = subprocess.run(
            command, stdin=source.descriptor, capture_output=True, env=environment, timeout=_SECONDS, check=False
        )
        found = json.loads(ended.stdout) if ended.returncode == 0 else {}
    except (subprocess.TimeoutExpired, ValueError):
        found = {}
    if "refused" in found:
        raise CheckpointFormatError(
            f"{path}: refused, since {found['refused']}. "
            "Expected plain, uncompressed arrays in groups, as Keras writes them."
        )
    if "arrays" not in found:
        raise CheckpointFormatError(f"{path}: not a whole HDF5 file: h5py cannot read it. Fetch or save it again.")
    return {name: _tensor(source, *rest) for name, *rest in found["arrays"]}


def _tensor(source: SourceFile, code: str, shape: Sequence[int], offset: int, content: str) -> Tensor:
    dtype = BFLOAT16 if code == "bfloat16" else np.dtype(code)
    if offset < 0:
        return constant(np.frombuffer(base64.b64decode(content), dtype).reshape(shape))
    return source.tensor(offset, dtype, tuple(shape))


def write_hdf5(
    path: Path, tensors: Mapping[str, Tensor], attributes: Mapping[str, Mapping[str, str | Sequence[str]]]
) -> None:
    """Writes arrays by their paths, one at a time.

    Args:
        path: the file, overwritten.
        tensors: path in the file to array.
        attributes: path of a group to its attributes; a sequence of texts is cut into numbered attributes where it is
            too long for one, as Keras does.

    Raises:
        OSError: the disk is full, or another failure to write.
    """
    import h5py

    with KeptFailure(path, "w+b") as opened:
        with h5py.File(opened, "w") as file:
            for name, tensor in tensors.items():
                dataset = file.create_dataset(name, data=contiguous(tensor.read()))
                if tensor.dtype == BFLOAT16:
                    dataset.attrs["dtype"] = "bfloat16"
                opened.check()
            for group, values in attributes.items():
                for key, value in values.items():
                    for part_key, part in _attribute_parts(key, value):
                        file.require_group(group).attrs[part_key] = part
        opened.check()


def _attribute_parts(key: str, value: str | Sequence[str]) -> list[tuple[str, Any]]:
    if isinstance(value, str):
        return [(key, value.encode())]
    texts = np.array([text.encode() for text in value])
    count = math.ceil(texts.nbytes / _MAX_ATTRIBUTE_BYTES)
    if count <= 1:
        return [(key, texts)]
    return [(f"{key}{number}", part) for number, part in enumerate(np.array_split(texts, count))]
