"""Weights files in one piece or in shards with an index, as transformers names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from clip_core.checkpoint.directory import plan_shards
from clip_core.checkpoint.tensors import Tensor
from weights_convert.model import json_text


def write_shards(
    directory: Path,
    file_name: str,
    tensors: Mapping[str, Tensor],
    max_bytes: int,
    write_one: Callable[[Path, Mapping[str, Tensor]], None],
    write_shard: Callable[[Path, Mapping[str, Tensor]], None] | None = None,
) -> None:
    """Writes ``file_name``, or shards named after it and their index.

    Args:
        write_one: writes the only file.
        write_shard: writes one of several, where these look different.
    """
    layout = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    shards = [{name: tensors[name] for name in names} for names in plan_shards(layout, max_bytes)]
    if len(shards) == 1:
        write_one(directory / file_name, tensors)
        return
    stem, _, extension = file_name.rpartition(".")
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        name = f"{stem}-{number:05d}-of-{len(shards):05d}.{extension}"
        (write_shard or write_one)(directory / name, shard)
        weight_map.update(dict.fromkeys(shard, name))
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / f"{file_name}.index.json").write_text(json_text(index), encoding="utf-8")
