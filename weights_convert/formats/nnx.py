"""The state of Triclip's Flax models as a pure dict, packed by ``flax.serialization``.

Load it with ``nnx.replace_by_pure_dict(state, flax.serialization.msgpack_restore(content))``.
"""

from __future__ import annotations

from clip_core.schemes import FLAX
from weights_convert.containers.msgpack_files import write_msgpack
from weights_convert.containers.opened import Container
from weights_convert.containers.shards import WeightFiles
from weights_convert.format import Format
from weights_convert.formats.hf_torch import respelled
from weights_convert.names import Names


def _is_own(container: Container) -> bool:
    """The names are those of Hugging Face's files, but for one that states of early models spell otherwise."""
    return container.path.name.startswith("nnx_") or "vision_model/pre_layernorm/scale" in container.tensors


_NAMES = Names(scheme=FLAX, separator="/")
NNX = Format(
    name="nnx",
    title="Triclip's Flax NNX state",
    containers=("msgpack",),
    files=(WeightFiles("nnx_state.msgpack"),),
    names=_NAMES,
    resnet_names=_NAMES.of_resnets(),
    is_own=_is_own,
    plain_names=lambda container: respelled(container.tensors, "/"),
    write_file=lambda path, tensors, model: write_msgpack(path, tensors),
)
