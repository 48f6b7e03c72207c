"""What every format is read into and written from: a configuration, weights in the shared scheme, and their company."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from clip_core.checkpoint.directory import config_text
from clip_core.checkpoint.tensors import Tensor
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.errors import InputError
from clip_core.weights import WeightSpec, weight_specs
from weights_convert.containers.opened import Container

AnyConfig: TypeAlias = CLIPConfig | CLIPTextConfig | CLIPVisionConfig
Files: TypeAlias = dict[str, bytes]
"""Small files of a checkpoint, by name, in the Hugging Face layout."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A checkpoint, whatever format it came in.

    Attributes:
        config: of the full model or of one tower.
        projection: whether a tower has its projection to the shared space.
        weights: by their names in the shared scheme, in the order of the weight table.
        files: preprocessor and tokenizer, in the Hugging Face layout.
    """

    config: AnyConfig
    projection: bool
    weights: Mapping[str, Tensor]
    files: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def specs(self) -> tuple[WeightSpec, ...]:
        """The entries of the weight table that the model has."""
        return weight_specs(self.config, projection=self.projection)

    def heads(self, spec: WeightSpec) -> int:
        """Attention heads of the tower that a weight belongs to."""
        if isinstance(self.config, CLIPConfig):
            tower = self.config.text_config if spec.path.startswith("text") else self.config.vision_config
            return tower.num_attention_heads
        return self.config.num_attention_heads

    def config_text(self) -> str:
        """``config.json`` as transformers and Triclip read it."""
        layout = {name: (tensor.dtype, tensor.shape) for name, tensor in self.weights.items()}
        return config_text(self.config, self.architecture, layout)

    @property
    def architecture(self) -> str:
        """Name of the PyTorch class in transformers."""
        if isinstance(self.config, CLIPConfig):
            return "CLIPModel"
        tower = "CLIPTextModel" if isinstance(self.config, CLIPTextConfig) else "CLIPVisionModel"
        return tower + ("WithProjection" if self.projection else "")


Read: TypeAlias = Callable[[Container], tuple[dict[str, Tensor], dict[str, Tensor]]]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A checkpoint format.

    Attributes:
        name: as ``--to`` has it.
        title: as people call it.
        recognises: whether the names in a file are those of this format.
        read: the weights of a file in the shared scheme, and those that have no place in it.
        config_files: where the configuration lies, beside the weights.
        write: writes a model to a path, a new directory or, if ``is_file``, a new file. ``max_shard_size`` is in bytes.
        check: raises `InputError` for a model that the format cannot express.
        read_files: preprocessor and tokenizer beside the weights, in the Hugging Face layout.
        sharded: whether it can be written in shards.
        is_file: whether a checkpoint is one file.
    """

    name: str
    title: str
    recognises: Callable[[Container], bool]
    read: Read
    config_files: tuple[str, ...]
    write: Callable[[Model, Path, int], None]
    read_files: Callable[[Path], Files]
    check: Callable[[Model], None] = lambda model: None
    sharded: bool = False
    is_file: bool = False


def require_full(model: Model, title: str) -> CLIPConfig:
    """The configuration of a full model; formats that hold no single tower raise `InputError`."""
    if not isinstance(model.config, CLIPConfig):
        raise InputError(f"{title}: holds whole models only, and the source is a single tower. Convert it to hf.")
    return model.config


def has_names(container: Container, *names: str) -> bool:
    """Whether a file has all tensors of these names."""
    return all(name in container.tensors for name in names)


def json_text(content: Mapping[str, Any]) -> str:
    """JSON as this package writes it."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
