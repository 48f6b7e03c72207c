"""The state of Triclip's Flax models as a pure dict, packed by ``flax.serialization``.

Load it with ``nnx.replace_by_pure_dict(state, flax.serialization.msgpack_restore(content))``.
"""

from __future__ import annotations

from clip_core.schemes import FLAX
from weights_convert.containers.msgpack_files import write_msgpack
from weights_convert.containers.opened import Container
from weights_convert.containers.shards import WeightFiles
from weights_convert.format import Format
from weights_convert.names import Names


def _is_own(container: Container) -> bool:
    """Hugging Face's files spell one module otherwise; of the text tower alone, only the file's name tells."""
    if any(name.startswith("vision_model/") for name in container.tensors):
        return "vision_model/pre_layernorm/scale" in container.tensors
    return container.path.name.startswith("nnx_")


NNX = Format(
    name="nnx",
    title="Triclip's Flax NNX state",
    containers=("msgpack",),
    files=(WeightFiles("nnx_state.msgpack"),),
    names=Names(scheme=FLAX, separator="/"),
    is_own=_is_own,
    write_file=lambda path, tensors, model: write_msgpack(path, tensors),
)
