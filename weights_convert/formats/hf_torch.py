"""Hugging Face PyTorch checkpoints: the shared scheme itself, in its several spellings on disk.

Read: ``model.safetensors`` and ``pytorch_model.bin``, shards of both, files with the old ``position_ids``, and the
single towers of transformers 5, which have no prefix. Written: ``model.safetensors`` or its shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clip_core.checkpoint.safetensors_file import write_safetensors
from clip_core.checkpoint.tensors import Tensor, contiguous
from clip_core.weights import IGNORED_NAMES, WeightSpec
from weights_convert.companions import read_files, write_company
from weights_convert.containers.opened import Container
from weights_convert.containers.shards import write_shards
from weights_convert.model import Format, Model
from weights_convert.tables import Place, foreign_names, shared_names

_BARE_TOWERS = {
    "embeddings.token_embedding.weight": "text_model.",
    "embeddings.patch_embedding.weight": "vision_model.",
}
"""A name that only a tower saved without its prefix has, and that prefix."""


def _place(spec: WeightSpec) -> Place:
    return Place(spec.name)


def _recognises(container: Container) -> bool:
    names = container.tensors
    own = any(name.startswith(("text_model.encoder.", "vision_model.encoder.")) for name in names)
    return own or any(name in names for name in _BARE_TOWERS)


def _read(container: Container) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    stored = dict(container.tensors)
    for name, prefix in _BARE_TOWERS.items():
        if name in stored:
            stored = {prefix + name if "projection" not in name else name: value for name, value in stored.items()}
    found, rest = shared_names(_place, stored)
    return found, {name: tensor for name, tensor in rest.items() if name not in IGNORED_NAMES}


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes a safetensors file that every reader takes for one of PyTorch."""
    layout = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    values = ((name, contiguous(tensor.read())) for name, tensor in tensors.items())
    write_safetensors(path, layout, values, {"format": "pt"})  # transformers 4 refuses a file that does not say so


def _write(model: Model, directory: Path, max_shard_size: int) -> None:
    tensors = foreign_names(_place, model.specs, model.weights)
    write_shards(directory, "model.safetensors", tensors, max_shard_size, write_tensors)
    write_company(directory, model)


HF = Format(
    name="hf",
    title="Hugging Face PyTorch",
    recognises=_recognises,
    read=_read,
    config_files=("config.json",),
    write=_write,
    read_files=read_files,
    sharded=True,
)
