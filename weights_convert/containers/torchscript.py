"""Writing TorchScript archives, the layout that OpenAI published its weights in and the only one ``clip.load`` takes.

Such an archive is a module. ``data.pkl`` holds the tensors, nested as their names say, and ``code/`` declares a class
for every module. The classes written here declare their parameters and have no method: the file computes nothing.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias, Union

import numpy as np

from clip_core.checkpoint.pickled_tensors import STORAGES
from clip_core.checkpoint.tensors import Shape, Tensor, contiguous, row_major
from clip_core.checkpoint.torch_file import EXTRA

Tree: TypeAlias = dict[str, Union["Tree", tuple[int, Tensor]]]
"""The modules of a model: name to module, or to a tensor and the number of its storage."""

_ALIGNMENT = 64
_BUFFERS = ("running_mean", "running_var", "num_batches_tracked")  # what batch normalisation keeps
_KINDS = {dtype: name for name, dtype in STORAGES.items()}


def write_torchscript(path: Path, tensors: Mapping[str, Tensor], extra: Mapping[str, bytes]) -> None:
    """Writes a module with these parameters, one tensor at a time, for ``torch.jit.load(path).state_dict()``.

    Args:
        path: the file, overwritten.
        tensors: the state dict; its names say how modules are nested.
        extra: files that travel inside the archive; torch skips them.
    """
    classes = _Classes()
    module = classes.instance(_tree(tensors))[1]
    contents = {
        "data.pkl": b"\x80\x02" + module + b".",
        "code/__torch__.py": classes.source().encode(),
        "constants.pkl": b"\x80\x02).",
        "byteorder": b"little",
        "version": b"3\n",
        **{EXTRA + name: content for name, content in extra.items()},
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in contents.items():
            _write_entry(archive, name, memoryview(content))
        for number, tensor in enumerate(tensors.values()):
            value = contiguous(tensor.read())
            _write_entry(archive, f"data/{number}", value.reshape(-1).view(np.uint8).data)


def _write_entry(archive: zipfile.ZipFile, name: str, content: memoryview) -> None:
    info = zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0))
    info.file_size = content.nbytes
    large = content.nbytes > zipfile.ZIP64_LIMIT // 2
    header_end = archive.start_dir + 30 + len(info.filename) + (20 if large else 0) + 4
    padding = -header_end % _ALIGNMENT
    info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding  # as torch does, so that it can map the file
    with archive.open(info, "w", force_zip64=large) as entry:
        entry.write(content)


def _tree(tensors: Mapping[str, Tensor]) -> Tree:
    root: Tree = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        *owners, leaf = name.split(".")
        place = root
        for owner in owners:
            nested = place.setdefault(owner, {})
            assert isinstance(nested, dict), f"{name} lies inside of a tensor"
            place = nested
        place[leaf] = (number, tensor)
    return root


class _Classes:
    """The classes of a model's modules; modules that declare the same share one."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}

    def instance(self, tree: Tree) -> tuple[str, bytes]:
        """The class of a module, and the instructions of a pickle that make the module."""
        declarations, attributes = [], []
        for name, item in tree.items():
            kind, made = self.instance(item) if isinstance(item, dict) else ("Tensor", _tensor(*item))
            declarations.append(f"{name} : {kind}" if name.isidentifier() else f'__annotations__["{name}"] = {kind}')
            attributes += [_text(name), made]
        leaves = [name for name, item in tree.items() if not isinstance(item, dict)]
        parameters = "".join(f'"{name}", ' for name in leaves if name not in _BUFFERS)
        buffers = "".join(f'"{name}", ' for name in leaves if name in _BUFFERS)
        lines = [f"__parameters__ = [{parameters}]", f"__buffers__ = [{buffers}]", "training : bool", *declarations]
        body = "".join(f"  {line}\n" for line in lines)
        name = self.names.setdefault(body, f"Module{len(self.names)}")
        instructions = [f"c__torch__\n{name}\n".encode(), b")\x81}(", _text("training"), b"\x89", *attributes, b"ub"]
        return f"__torch__.{name}", b"".join(instructions)

    def source(self) -> str:
        """The declarations of all classes."""
        return "\n".join(f"class {name}(Module):\n{body}" for body, name in self.names.items())


def _tensor(number: int, tensor: Tensor) -> bytes:
    return b"".join(
        [
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _text("storage"),
            f"ctorch\n{_KINDS[tensor.dtype]}\n".encode(),
            _text(str(number)),
            _text("cpu"),
            _integer(tensor.nbytes // tensor.dtype.itemsize),
            b"tQ",
            _integer(0),
            _integers(tensor.shape),
            _integers(row_major(tensor.shape)),
            b"\x89ccollections\nOrderedDict\n)RtR",
        ]
    )


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


def _integer(value: int) -> bytes:
    if value < 256:
        return b"K" + value.to_bytes(1, "little")
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def _integers(values: Shape) -> bytes:
    return b"(" + b"".join(map(_integer, values)) + b"t"
