"""Hugging Face TensorFlow checkpoints: ``tf_model.h5``, its shards, and the safetensors spelling of the same names.

The variables of the TensorFlow classes of transformers 4: names with slashes and ``:0``, kernels with the input axis
first, the temperature with one axis. A single file puts the snake case name of the class in front, shards do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from clip_core.checkpoint.tensors import Tensor
from clip_core.config import CLIPConfig, CLIPTextConfig
from clip_core.errors import InputError
from clip_core.weights import WeightSpec
from weights_convert.companions import read_files, write_company
from weights_convert.containers.hdf5_files import require_h5py, write_hdf5
from weights_convert.containers.opened import Container
from weights_convert.containers.shards import write_shards
from weights_convert.model import Format, Model
from weights_convert.tables import Place, foreign_names, shared_names

_LEAVES = {
    "linear": ("kernel", "in out"),
    "linear_bias": ("bias", None),
    "conv": ("kernel", "height width in out"),
    "embedding": ("embeddings", None),
    "norm_scale": ("gamma", None),
    "norm_bias": ("beta", None),
}
_TOKEN_EMBEDDING = "text_model.embeddings.token_embedding.weight"
_TOP = "clip"  # name of the only layer of the classes


def _place(spec: WeightSpec) -> Place:
    """The name without the class: ``clip/text_model/encoder/layers_._0/mlp/fc1/kernel:0``."""
    if spec.kind == "scalar":
        return Place(f"{_TOP}/{spec.name}:0", "one")
    if spec.kind == "vector" or spec.name == _TOKEN_EMBEDDING:  # variables made by hand, with PyTorch's names
        return Place(f"{_TOP}/{_slashed(spec.name)}:0")
    leaf, axes = _LEAVES[spec.kind]
    return Place(f"{_TOP}/{_slashed(spec.name.rpartition('.')[0])}/{leaf}:0", axes)


def _slashed(name: str) -> str:
    return name.replace("layers.", "layers_._").replace(".", "/").replace("layers_/_", "layers_._")


def _without_class(name: str) -> str:
    """A name of a single file, ``clip/tfclip_model/clip/...:0``, without its first two parts."""
    parts = name.split("/")
    return "/".join(parts[2:]) if len(parts) > 3 and parts[2] == _TOP else name


def _recognises(container: Container) -> bool:
    return any(_without_class(name).startswith(f"{_TOP}/") and name.endswith(":0") for name in container.tensors)


def _read(container: Container) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    return shared_names(_place, {_without_class(name): tensor for name, tensor in container.tensors.items()})


def _class_name(model: Model) -> str:
    if isinstance(model.config, CLIPConfig):
        return "tfclip_model"
    return "tfclip_text_model" if isinstance(model.config, CLIPTextConfig) else "tfclip_vision_model"


def _write(model: Model, directory: Path, max_shard_size: int) -> None:
    def write_whole(path: Path, tensors: Mapping[str, Tensor]) -> None:
        named = {f"{_class_name(model)}/{name}": tensor for name, tensor in tensors.items()}
        attributes: dict[str, dict[str, str | list[str]]] = {
            "/": {"layer_names": [_TOP], "backend": "tensorflow", "keras_version": "2.15.0"},
            _TOP: {"weight_names": list(named)},
        }
        write_hdf5(path, {f"{_TOP}/{name}": tensor for name, tensor in named.items()}, attributes)

    def write_shard(path: Path, tensors: Mapping[str, Tensor]) -> None:
        write_hdf5(path, tensors, {"/": {"layer_names": list(tensors)}})

    tensors = foreign_names(_place, model.specs, model.weights)
    write_shards(directory, "tf_model.h5", tensors, max_shard_size, write_whole, write_shard)
    write_company(directory, model)


def _check(model: Model) -> None:
    require_h5py("Hugging Face TensorFlow: tf_model.h5")
    if model.projection and not isinstance(model.config, CLIPConfig):
        raise InputError("Hugging Face TensorFlow: has no class for a tower with projection. Convert it to hf.")


HF_TF = Format(
    name="hf-tf",
    title="Hugging Face TensorFlow",
    recognises=_recognises,
    read=_read,
    config_files=("config.json",),
    write=_write,
    check=_check,
    read_files=read_files,
    sharded=True,
)
