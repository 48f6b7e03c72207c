"""Hugging Face PyTorch checkpoints: the shared scheme itself, in its several spellings on disk.

Read: ``model.safetensors`` and ``pytorch_model.bin``, shards of both, files with the old ``position_ids``, and the
single towers of transformers 5, which have no prefix. Written: ``model.safetensors`` or its shards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clip_core.checkpoint.safetensors_file import write_safetensors
from clip_core.checkpoint.tensors import Tensor, contiguous
from clip_core.schemes import TORCH
from clip_core.weights import IGNORED_NAMES
from weights_convert.containers.opened import Container
from weights_convert.containers.shards import hugging_face_files
from weights_convert.format import Format
from weights_convert.implied import Implied, are_positions
from weights_convert.model import Model
from weights_convert.names import Names

_BARE_TOWERS = {
    "embeddings.token_embedding.weight": "text_model.",
    "embeddings.patch_embedding.weight": "vision_model.",
}
"""A name that only a tower saved without its prefix has, and that prefix."""
_PASSED_OVER = "not counted from zero; passed over, as by transformers since 4.31, while earlier versions follow it"


def _plain_names(container: Container) -> Mapping[str, Tensor]:
    stored = container.tensors
    for name, prefix in _BARE_TOWERS.items():
        if name in stored:
            stored = {prefix + name if "projection" not in name else name: value for name, value in stored.items()}
    return respelled(stored, ".")


def respelled(stored: Mapping[str, Tensor], separator: str) -> Mapping[str, Tensor]:
    """The names with the spelling of transformers for a LayerNorm that files of modules may spell otherwise."""
    clean, usual = (f"vision_model{separator}{name}{separator}" for name in ("pre_layernorm", "pre_layrnorm"))
    if any(name.startswith(usual) for name in stored):
        return stored
    return {name.replace(clean, usual, 1): tensor for name, tensor in stored.items()}


def write_tensors(path: Path, tensors: Mapping[str, Tensor], model: Model) -> None:
    """Writes a safetensors file that every reader takes for one of PyTorch."""
    layout = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    values = ((name, contiguous(tensor.read())) for name, tensor in tensors.items())
    write_safetensors(path, layout, values, {"format": "pt"})  # transformers 4 refuses a file that does not say so


_NAMES = Names(scheme=TORCH)
HF = Format(
    name="hf",
    title="Hugging Face PyTorch",
    containers=("safetensors", "torch", "torchscript"),
    files=(hugging_face_files("model.safetensors", "model-a"), hugging_face_files("pytorch_model.bin")),
    sharded=True,
    names=_NAMES,
    resnet_names=_NAMES.of_resnets(),
    plain_names=_plain_names,
    other_marks=tuple(_BARE_TOWERS),
    implied=tuple(Implied(name, are_positions, _PASSED_OVER) for name in IGNORED_NAMES),
    write_file=write_tensors,
)
