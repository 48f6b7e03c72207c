"""Files of Triclip's own models in their frameworks' formats.

``keras``: what ``TFCLIPModel.save_weights("model.weights.h5")`` writes and ``load_weights`` reads.
``nnx``: the state of a Flax model as a pure dict, packed by ``flax.serialization``; load it with
``nnx.replace_by_pure_dict(state, flax.serialization.msgpack_restore(content))``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from clip_core.checkpoint.tensors import Tensor
from clip_core.config import CLIPConfig
from clip_core.weights import WeightSpec
from weights_convert.companions import read_files, write_company
from weights_convert.containers.hdf5_files import require_h5py, write_hdf5
from weights_convert.containers.msgpack_files import write_msgpack
from weights_convert.containers.opened import Container
from weights_convert.formats.hf_flax import LEAVES, is_named_nnx
from weights_convert.model import Format, Model
from weights_convert.tables import LAYER_SUFFIX, Place, foreign_names, shared_names

_KERAS_VARIABLES = {  # Keras numbers the variables of a layer
    "linear": ("0", "in out"),
    "linear_bias": ("1", None),
    "conv": ("0", "height width in out"),
    "embedding": ("0", None),
    "norm_scale": ("0", None),
    "norm_bias": ("1", None),
}
_KERAS_PATHS = {  # and names layers after their classes
    "text_model.": "layers/text_transformer/",
    "vision_model.": "layers/vision_transformer/",
    "encoder.layers.{i}.": f"encoder/layers/encoder_layer{LAYER_SUFFIX}/",
}


def _keras_place(spec: WeightSpec, *, full: bool) -> Place:
    if spec.kind == "scalar":
        return Place("vars/0")
    if spec.path in ("visual_projection", "text_projection"):
        second = full and spec.path == "text_projection"
        return Place(f"layers/dense{'_1' if second else ''}/vars/0", "in out")
    path = spec.path if spec.kind != "vector" else spec.path.rpartition(".")[0]
    for shared, keras in _KERAS_PATHS.items():
        path = path.replace(shared, keras)
    variable, axes = _KERAS_VARIABLES.get(spec.kind, ("0", None))
    return Place(f"{path.replace('.', '/')}/vars/{variable}", axes)


def _towers(container: Container) -> set[str]:
    return {name.split("/")[1] for name in container.tensors if name.startswith("layers/")}


def _is_keras(container: Container) -> bool:
    return container.kind == "hdf5" and bool(_towers(container) & {"text_transformer", "vision_transformer"})


def _read_keras(container: Container) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    towers = _towers(container) & {"text_transformer", "vision_transformer"}
    full = len(towers) == 2
    absent = None if full else "visual_projection" if "text_transformer" in towers else "text_projection"

    def place(spec: WeightSpec) -> Place | None:
        return None if spec.path == absent else _keras_place(spec, full=full)

    return shared_names(place, container.tensors)


def _write_keras(model: Model, directory: Path, max_shard_size: int) -> None:
    place = partial(_keras_place, full=isinstance(model.config, CLIPConfig))
    tensors = foreign_names(place, model.specs, model.weights)
    write_hdf5(directory / "model.weights.h5", tensors, {})
    write_company(directory, model)


def _nnx_place(spec: WeightSpec) -> Place:
    if spec.kind not in LEAVES:
        return Place(spec.path.replace(".", "/"))
    leaf, axes = LEAVES[spec.kind]
    return Place(f"{spec.path}.{leaf}".replace(".", "/"), axes)


def _is_nnx(container: Container) -> bool:
    if container.kind != "msgpack":
        return False
    if any(name.startswith("vision_model/") for name in container.tensors):
        return "vision_model/pre_layernorm/scale" in container.tensors
    return is_named_nnx(container)


def _write_nnx(model: Model, directory: Path, max_shard_size: int) -> None:
    write_msgpack(directory / "nnx_state.msgpack", foreign_names(_nnx_place, model.specs, model.weights))
    write_company(directory, model)


def _format(
    name: str,
    title: str,
    recognises: Callable[[Container], bool],
    read: Callable[[Container], tuple[dict[str, Tensor], dict[str, Tensor]]],
    write: Callable[[Model, Path, int], None],
    check: Callable[[Model], None] = lambda model: None,
) -> Format:
    return Format(
        name=name,
        title=title,
        recognises=recognises,
        read=read,
        config_files=("config.json",),
        write=write,
        check=check,
        read_files=read_files,
    )


def _check_keras(model: Model) -> None:
    require_h5py("Keras: model.weights.h5")


KERAS = _format("keras", "Triclip's Keras weights", _is_keras, _read_keras, _write_keras, _check_keras)
NNX = _format(
    "nnx",
    "Triclip's Flax NNX state",
    _is_nnx,
    lambda container: shared_names(_nnx_place, container.tensors),
    _write_nnx,
)
