"""Hugging Face Flax checkpoints: ``flax_model.msgpack`` and its shards, the trees of the Linen classes."""

from __future__ import annotations

from pathlib import Path

from clip_core.checkpoint.tensors import Tensor
from clip_core.weights import WeightSpec
from weights_convert.companions import read_files, write_company
from weights_convert.containers.msgpack_files import write_msgpack
from weights_convert.containers.opened import Container
from weights_convert.containers.shards import write_shards
from weights_convert.model import Format, Model
from weights_convert.tables import Place, foreign_names, shared_names

LEAVES = {
    "linear": ("kernel", "in out"),
    "linear_bias": ("bias", None),
    "conv": ("kernel", "height width in out"),
    "embedding": ("embedding", None),
    "norm_scale": ("scale", None),
    "norm_bias": ("bias", None),
}
"""Per kind: the parameter's name in Flax and the order of its axes, where it is not that of the table."""


def _place(spec: WeightSpec) -> Place:
    if spec.kind not in LEAVES:
        return Place(spec.name.replace(".", "/"))
    leaf, axes = LEAVES[spec.kind]
    return Place(f"{spec.name.rpartition('.')[0]}.{leaf}".replace(".", "/"), axes)


def _recognises(container: Container) -> bool:
    if any(name.startswith("vision_model/") for name in container.tensors):
        return "vision_model/pre_layrnorm/scale" in container.tensors
    return "text_model/final_layer_norm/scale" in container.tensors and not is_named_nnx(container)


def is_named_nnx(container: Container) -> bool:
    """Whether the file's name says that it is an NNX state; the text tower alone looks the same in both."""
    return container.path.name.startswith("nnx_")


def _read(container: Container) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return shared_names(_place, container.tensors)


def _write(model: Model, directory: Path, max_shard_size: int) -> None:
    tensors = foreign_names(_place, model.specs, model.weights)
    write_shards(directory, "flax_model.msgpack", tensors, max_shard_size, write_msgpack)
    write_company(directory, model)


HF_FLAX = Format(
    name="hf-flax",
    title="Hugging Face Flax",
    recognises=_recognises,
    read=_read,
    config_files=("config.json",),
    write=_write,
    read_files=read_files,
    sharded=True,
)
