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
from clip_core.schemes import HF_TF_SCALAR, KERAS
from weights_convert.containers.hdf5_files import write_hdf5
from weights_convert.containers.shards import hugging_face_files
from weights_convert.format import Format
from weights_convert.model import Model
from weights_convert.names import LAYER, Names, Place

_FILES = hugging_face_files("tf_model.h5")
_TOP = "clip"  # name of the only layer of the classes


def _without_class(name: str) -> str:
    """A name of a single file, ``clip/tfclip_model/clip/...:0``, without its first two parts."""
    parts = name.split("/")
    return "/".join(parts[2:]) if len(parts) > 3 and parts[2] == _TOP else name


def _class_name(model: Model) -> str:
    if isinstance(model.config, CLIPConfig):
        return "tfclip_model"
    return "tfclip_text_model" if isinstance(model.config, CLIPTextConfig) else "tfclip_vision_model"


def _write_file(path: Path, tensors: Mapping[str, Tensor], model: Model) -> None:
    if path.name != _FILES.whole:
        write_hdf5(path, tensors, {"/": {"layer_names": list(tensors)}})
        return
    named = {f"{_class_name(model)}/{name}": tensor for name, tensor in tensors.items()}
    attributes: dict[str, dict[str, str | list[str]]] = {
        "/": {"layer_names": [_TOP], "backend": "tensorflow", "keras_version": "2.15.0"},
        _TOP: {"weight_names": list(named)},
    }
    write_hdf5(path, {f"{_TOP}/{name}": tensor for name, tensor in named.items()}, attributes)


def _refuse(model: Model) -> None:
    if model.projection and not isinstance(model.config, CLIPConfig):
        raise InputError("Hugging Face TensorFlow: has no class for a tower with projection. Convert it to hf.")


HF_TF = Format(
    name="hf-tf",
    title="Hugging Face TensorFlow",
    containers=("hdf5", "safetensors"),
    files=(_FILES,),
    sharded=True,
    names=Names(
        scheme=KERAS,
        separator="/",
        modules={
            f"layers.{LAYER}": f"layers_._{LAYER}",
            **{name: f"{_TOP}/{name}" for name in ("text_model", "vision_model")},
            **{name: f"{_TOP}/{name}" for name in ("text_projection", "visual_projection")},
        },
        leaf="{}:0",
        places={  # variables made by hand, with PyTorch's names
            "logit_scale": Place(f"{_TOP}/logit_scale:0", HF_TF_SCALAR),
            "text_model.embeddings.token_embedding.weight": Place(
                f"{_TOP}/text_model/embeddings/token_embedding/weight:0"
            ),
        },
    ),
    plain_names=lambda container: {_without_class(name): tensor for name, tensor in container.tensors.items()},
    write_file=_write_file,
    refuse=_refuse,
)
