"""The files that weights lie in, whole or in shards with an index: what they are called, and writing them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clip_core.checkpoint.saving import plan_shards
from clip_core.checkpoint.tensors import Tensor
from weights_convert.model import json_text


@dataclass(frozen=True)
class WeightFiles:
    """Names of files of weights.

    Attributes:
        whole: of the file that holds all.
        index: of the list of shards; empty if there are no shards.
        shards: of shards, ``{number}`` and ``{count}`` being five digits each. The first is what is written.
    """

    whole: str
    index: str = ""
    shards: tuple[str, ...] = ()

    def shard(self, number: int, count: int) -> str:
        """The name of a shard."""
        return self.shards[0].format(number=f"{number:05d}", count=f"{count:05d}")

    def holds_weights(self, name: str) -> bool:
        """Whether a file of this name holds weights, all or a shard."""
        digits = [
            re.escape(shard).replace(r"\{number\}", r"\d{5}").replace(r"\{count\}", r"\d{5}") for shard in self.shards
        ]
        return name == self.whole or any(re.fullmatch(pattern, name) for pattern in digits)

    @property
    def globs(self) -> tuple[str, ...]:
        """Patterns of the names of shards."""
        return tuple(shard.format(number="*", count="*") for shard in self.shards)


def hugging_face_files(whole: str, *other_stems: str) -> WeightFiles:
    """Names as transformers chooses them: ``model.bin``, ``model-00001-of-00002.bin``, ``model.bin.index.json``."""
    stem, _, extension = whole.rpartition(".")
    shards = tuple(f"{each}-{{number}}-of-{{count}}.{extension}" for each in (stem, *other_stems))
    return WeightFiles(whole, f"{whole}.index.json", shards)


def write_shards(
    directory: Path,
    files: WeightFiles,
    tensors: Mapping[str, Tensor],
    max_bytes: int,
    write_one: Callable[[Path, Mapping[str, Tensor]], None],
) -> None:
    """Writes the whole file, or shards of at most ``max_bytes`` and their index; ``write_one`` writes one of them."""
    layout = {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}
    shards = [{name: tensors[name] for name in names} for names in plan_shards(layout, max_bytes)]
    if len(shards) == 1:
        write_one(directory / files.whole, tensors)
        return
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        name = files.shard(number, len(shards))
        write_one(directory / name, shard)
        weight_map.update(dict.fromkeys(shard, name))
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (directory / files.index).write_text(json_text(index), encoding="utf-8")
