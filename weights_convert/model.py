"""What every format is read into and written from: a configuration, weights in the shared scheme, and their company."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from clip_core.checkpoint.saving import config_text
from clip_core.checkpoint.tensors import WEIGHT_DTYPES, Tensor
from clip_core.checks import has_legacy_end
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.weights import WeightSpec, weight_specs

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

    def cast(self, dtype: str) -> Model:
        """With its weights in another dtype, but for running statistics and counters (`WeightSpec.dtype_in`)."""
        dtypes = {spec.name: WEIGHT_DTYPES[spec.dtype_in(dtype)] for spec in self.specs if spec.kind != "counter"}
        weights = {
            name: tensor.cast(dtypes[name], name) if name in dtypes else tensor for name, tensor in self.weights.items()
        }
        return replace(self, weights=weights)

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


def has_resnet(config: AnyConfig) -> bool:
    """Whether the vision tower is a ResNet."""
    vision = config.vision_config if isinstance(config, CLIPConfig) else config
    return isinstance(vision, CLIPVisionConfig) and vision.is_resnet


def pools_at_largest_id(config: CLIPTextConfig) -> bool:
    """Whether the end of a text is where the largest id is, the only rule that OpenAI's and Keras Hub's models have."""
    return has_legacy_end(config) or config.eos_token_id == config.vocab_size - 1


def full_config(model: Model) -> CLIPConfig:
    """The configuration of a model that is known to be whole (see ``Format.whole_models_only``)."""
    assert isinstance(model.config, CLIPConfig)
    return model.config


def json_text(content: Mapping[str, Any]) -> str:
    """JSON as this package writes it."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
