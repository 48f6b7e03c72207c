"""Hugging Face Flax checkpoints: ``flax_model.msgpack`` and its shards, the trees of the Linen classes."""

from __future__ import annotations

from clip_core.schemes import FLAX
from weights_convert.containers.msgpack_files import write_msgpack
from weights_convert.containers.shards import hugging_face_files
from weights_convert.format import Format
from weights_convert.formats.nnx import NNX
from weights_convert.names import Names

HF_FLAX = Format(
    name="hf-flax",
    title="Hugging Face Flax",
    containers=("msgpack",),
    files=(hugging_face_files("flax_model.msgpack"),),
    sharded=True,
    names=Names(scheme=FLAX, separator="/"),
    is_own=lambda container: not NNX.recognises(container),
    write_file=lambda path, tensors, model: write_msgpack(path, tensors),
)
