"""Low-rank adapters on their own, in the files of PEFT: ``adapter_config.json`` and ``adapter_model.safetensors``.

An adapter of one framework is one of all: its layers have the paths of the weight table. Source: Hu et al. 2021; names
and scaling: PEFT's LoRA.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.files import read_json, written_beside
from clip_core.checkpoint.safetensors_file import SafetensorsFile, write_safetensors
from clip_core.errors import CheckpointFormatError, InputError, WeightMismatchError
from clip_core.weights import WeightSpec, mismatch_message

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DEFAULT_TARGETS = ("q_proj", "v_proj")
LEAVES = {"linear": ("lora_A.weight", "lora_B.weight"), "embedding": ("lora_embedding_A", "lora_embedding_B")}
"""Names of both factors in PEFT's files, by the kind of the weight that they change."""
_PREFIX = "base_model.model."
_UNUSED = ("use_dora", "modules_to_save", "lora_bias", "layer_replication", "trainable_token_indices")


@dataclass(frozen=True)
class LowRank:
    """What is added to a weight: ``up @ down * (alpha / rank)``, of its shape in checkpoints or, of embeddings, turned.

    Attributes:
        down: ``[rank, in]``; of an embedding ``[rank, row]``.
        up: ``[out, rank]``; of an embedding ``[hidden, rank]``.
        alpha: the scale is this, divided by the rank.
    """

    down: NDArray[Any]
    up: NDArray[Any]
    alpha: float

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])


def target_paths(specs: tuple[WeightSpec, ...], targets: tuple[str, ...] | str) -> dict[str, WeightSpec]:
    """The linear layers and embeddings that an adapter changes, by path.

    Args:
        specs: the weights of the model.
        targets: ends of paths (``"q_proj"``, ``"mlp.fc1"``), or a regular expression for whole paths, as PEFT's
            ``target_modules``; ``"all-linear"`` are all linear layers.

    Raises:
        InputError: one of them is at the end of no such layer's path.
    """
    found = {spec.path: spec for spec in specs if spec.kind in LEAVES}
    if isinstance(targets, str):
        chosen = {
            path: spec
            for path, spec in found.items()
            if (spec.kind == "linear" if targets == "all-linear" else re.fullmatch(targets, path))
        }
        unknown = [] if chosen else [targets]
    else:
        chosen = {
            path: spec for path, spec in found.items() if f".{path}".endswith(tuple(f".{end}" for end in targets))
        }
        unknown = [end for end in targets if not any(f".{path}".endswith(f".{end}") for path in found)]
    if unknown or not chosen:
        names = sorted({path.rpartition(".")[2] for path in found})
        raise InputError(
            f"targets: expected ends of the paths of linear layers or embeddings, such as {', '.join(names)}, got "
            f"{', '.join(unknown) or 'none'}."
        )
    return chosen


def save_adapter(
    directory: str | PathLike[str], adapter: Mapping[str, LowRank], specs: tuple[WeightSpec, ...], base: str | None
) -> None:
    """Writes the factors of every changed layer, by path, as PEFT does.

    Args:
        base: the checkpoint of the model without the adapter, for ``base_model_name_or_path``.
    """
    kinds = {spec.path: spec.kind for spec in specs if spec.kind in LEAVES}
    tensors = {}
    for path, factors in adapter.items():
        down, up = LEAVES[kinds[path]]
        tensors[f"{_PREFIX}{path}.{down}"], tensors[f"{_PREFIX}{path}.{up}"] = factors.down, factors.up
    ranks, alphas = ({path: getattr(part, name) for path, part in adapter.items()} for name in ("rank", "alpha"))
    rank, alpha = next(iter(ranks.values())), next(iter(alphas.values()))
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {re.escape(path): other for path, other in ranks.items() if other != rank},
        "alpha_pattern": {re.escape(path): other for path, other in alphas.items() if other != alpha},
        "target_modules": sorted(adapter),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "inference_mode": True,
        "modules_to_save": None,
        "use_dora": False,
        "use_rslora": False,
    }
    layout = {name: (value.dtype, value.shape) for name, value in tensors.items()}
    directory = Path(directory)
    with written_beside(directory / WEIGHTS) as beside:
        write_safetensors(beside, layout, tensors.items(), {"format": "pt"})
    with written_beside(directory / CONFIG) as beside:
        beside.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_adapter(directory: str | PathLike[str], specs: tuple[WeightSpec, ...]) -> dict[str, LowRank]:
    """The factors of every layer that an adapter of PEFT's LoRA changes, by path.

    Raises:
        CheckpointError: the files are not there or broken.
        CheckpointFormatError: another kind of adapter, or one that changes more than factors of rank.
        WeightMismatchError: it is for other layers or shapes; all in one list.
    """
    directory = Path(directory)
    config = read_json(directory / CONFIG)
    unused = [name for name in _UNUSED if config.get(name)]
    if str(config.get("peft_type")).upper() != "LORA" or config.get("bias", "none") != "none" or unused:
        odd = ", ".join(unused) or f"peft_type {config.get('peft_type')!r}, bias {config.get('bias', 'none')!r}"
        raise CheckpointFormatError(
            f"{directory / CONFIG}: expected LoRA whose factors are all that it has, got {odd}. Merge it with PEFT."
        )
    stored = SafetensorsFile(directory / WEIGHTS)
    found = {name.removeprefix(_PREFIX): name for name in stored.entries}
    adapter, problems = {}, []
    for spec in specs:
        pair = [f"{spec.path}.{leaf}" for leaf in LEAVES.get(spec.kind, ())]
        if not pair or found.keys().isdisjoint(pair):
            continue
        down, up = (stored[found.pop(name)] if name in found else np.zeros((0, 0), np.float32) for name in pair)
        rows, columns = spec.shape if spec.kind == "linear" else spec.shape[::-1]
        if down.ndim != 2 or down.shape[0] < 1 or down.shape[1] != columns or up.shape != (rows, down.shape[0]):
            problems += [f"- {spec.path}: [rank, {columns}] and [{rows}, rank]"]
            problems += [f"+ {spec.path}: {list(down.shape)} and {list(up.shape)}"]
            continue
        rank = down.shape[0]
        alpha = float(_of_pattern(config.get("alpha_pattern"), spec.path, config.get("lora_alpha", rank)))
        adapter[spec.path] = LowRank(down, up, alpha * math.sqrt(rank) if config.get("use_rslora") else alpha)
    problems += [f"+ {name} {list(stored.entries[name].shape)}: of no layer of the model" for name in found.values()]
    if problems or not adapter:
        problems = problems or ["- factors of a layer of the model: none"]
        raise WeightMismatchError(
            mismatch_message(problems, f"{directory / WEIGHTS}: the adapter is of another model", "Use its base model.")
        )
    return adapter


def _of_pattern(pattern: Any, path: str, otherwise: Any) -> Any:
    matching = (value for key, value in (pattern or {}).items() if re.fullmatch(rf"(.*\.)?({key})", path))
    return next(matching, otherwise)
