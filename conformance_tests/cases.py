"""The models that the ladder climbs: tiny, every size distinct, every weight nonzero, built to trip the known traps."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import log
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.checkpoint.directory import load_checkpoint
from clip_core.checkpoint.locating import resolve_checkpoint
from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.weights import WeightSpec, weight_specs
from conformance_tests.oracle import Oracle

LOGIT_SCALE = log(100)
"""That of trained models: logits are compared at scale 100."""


@dataclass(frozen=True, eq=False)
class Case:
    """A configuration with weights.

    Attributes:
        name: shown in test ids.
        config: of the full model.
        weights: by their shared names, float32, and int64 the counters of batch normalisation.
    """

    name: str
    config: CLIPConfig
    weights: dict[str, NDArray[Any]] = field(repr=False)

    @cached_property
    def oracle(self) -> Oracle:
        """The reference model."""
        return Oracle(self.config, self.weights)

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The weights of a tower with its projection (``"text"`` or ``"vision"``)."""
        parts = {"text": ("text_model.", "text_projection."), "vision": ("vision_model.", "visual_projection.")}
        return {name: value for name, value in self.weights.items() if name.startswith(parts[prefix])}

    def __str__(self) -> str:
        return self.name


def _config(text: dict[str, Any], vision: dict[str, Any], *, embed: int = 18) -> CLIPConfig:
    text_defaults: dict[str, Any] = {
        "vocab_size": 61,
        "hidden_size": 24,
        "intermediate_size": 52,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 11,
        "eos_token_id": 57,  # larger ids exist: the largest is not the end
    }
    vision_defaults: dict[str, Any] = {
        "hidden_size": 40,
        "intermediate_size": 72,
        "num_hidden_layers": 2,
        "num_attention_heads": 5,
        "image_size": 21,
        "patch_size": 7,
    }
    return CLIPConfig(
        text_config=CLIPTextConfig(**{**text_defaults, "projection_dim": embed, **text}),
        vision_config=CLIPVisionConfig(**{**vision_defaults, "projection_dim": embed, **vision}),
        projection_dim=embed,
    )


def _resnet_config() -> CLIPConfig:
    embed = 18
    vision = CLIPVisionConfig(
        stage_depths=(1, 2, 1, 3), hidden_size=320, num_attention_heads=5, image_size=96, projection_dim=embed
    )
    return replace(_config({}, {}, embed=embed), vision_config=vision)


def _heads(head_dim: int, heads: int, ratio: float) -> dict[str, Any]:
    hidden = head_dim * heads
    return {
        "hidden_size": hidden,
        "num_attention_heads": heads,
        "intermediate_size": int(hidden * ratio),
        "num_hidden_layers": 1,
    }


CONFIGS = {
    "base": _config({}, {}),
    "legacy": _config(
        {"eos_token_id": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-3},
        {"image_size": 30, "patch_size": 14, "num_channels": 4, "layer_norm_eps": 1e-6},
    ),
    "wide": _config(
        _heads(64, 2, 4.0) | {"max_position_embeddings": 77, "hidden_act": "gelu_pytorch_tanh"},
        _heads(80, 2, 4.9231) | {"hidden_act": "gelu_pytorch_tanh"},
        embed=33,
    ),
    "giant": _config(_heads(16, 3, 4.3637), _heads(88, 2, 4.3637) | {"hidden_act": "gelu"}, embed=32),
    "gelu": _config({"hidden_act": "gelu"}, {"hidden_act": "gelu"}),
    "largest-id-ends": _config({"eos_token_id": 2}, {}),
    "patch-14-of-30": _config({}, {"image_size": 30, "patch_size": 14}),
    "context-77": _config({"max_position_embeddings": 77, "num_hidden_layers": 1}, {"num_hidden_layers": 1}),
}
"""Head sizes 64, 80 and 88, MLP ratios not 4, pixels left over at the border, both end-of-text rules, all activations.
"""

LADDER = ("base", "legacy", "wide", "giant")
"""The cases that the ladder climbs; between them they have every feature. The others, one feature each, are for the
comparisons with transformers."""

RESNETS = {"resnet": _resnet_config()}
"""Of `LADDER` as well, for backends that have ResNet towers: every stage begins as none of the others does."""

EMBEDDED = "triclip-emoji"
"""The checkpoint that ships with `clip_core`: trained weights, so that not all are random."""


def named_case(name: str) -> Case:
    """The case of that name: a configuration with random weights, or the embedded checkpoint."""
    if name == EMBEDDED:
        return checkpoint_case(resolve_checkpoint(EMBEDDED))
    config = {**CONFIGS, **RESNETS}[name]
    return Case(name, config, random_weights(config, seed=0))


def checkpoint_case(directory: Path) -> Case:
    """The full model in a checkpoint directory, its weights as float32."""
    loaded = load_checkpoint(directory, CLIPConfig)
    dtypes = {spec.name: spec.dtype_in("float32") for spec in weight_specs(loaded.config)}
    weights = {name: np.array(value, dtypes[name]) for name, value in loaded.weights.items()}
    return Case(directory.name, loaded.config, weights)


_FEW_BLOCKS = 7  # as many as the ladder's ResNet has


def random_weights(config: CLIPConfig, seed: int) -> dict[str, NDArray[Any]]:
    """Weights for which no part of the model is idle: no bias is 0, no scale is 1, attention is not uniform.

    What each block of a deep ResNet adds is the smaller, the more there are. Else the sum saturates the attention that
    reads it (in RN101, scores have a standard deviation of 1,900), and which token it takes is a matter of rounding.
    """
    generator = np.random.default_rng(seed)
    weights = {spec.name: _random(spec, generator) for spec in weight_specs(config)}
    share = np.float32(min(1, _FEW_BLOCKS / sum(config.vision_config.stage_depths or (1,))))
    for name in weights:
        if ".layer" in name and name.endswith(".bn3.weight"):
            weights[name] *= share
    return weights


def labelled(case: Case, labels: int) -> tuple[CLIPConfig, dict[str, NDArray[np.float32]]]:
    """Configuration and weights of a classifier with the vision tower of the case."""
    config, generator = case.config.changed({"num_labels": labels}), np.random.default_rng(labels)
    specs = weight_specs(config, classifier=True)
    return config, {spec.name: case.weights.get(spec.name, _random(spec, generator)) for spec in specs}


def _random(spec: WeightSpec, generator: np.random.Generator) -> NDArray[Any]:
    if spec.kind == "scalar":
        return np.array(LOGIT_SCALE, np.float32)
    if spec.kind == "counter":
        return np.array(generator.integers(100, 1000), np.int64)
    value = generator.standard_normal(spec.shape)
    if spec.kind == "norm_variance":
        value = np.exp(0.7 * value)
    elif spec.kind in ("linear", "conv"):
        value *= 1.3 / np.sqrt(np.prod(spec.shape[1:]))
    elif spec.kind == "norm_scale":
        value = 1 + 0.3 * value
        if spec.path.endswith(".bn3"):  # a sum of many blocks shall not saturate the attention that reads it
            value *= 0.3
    else:
        value *= 0.5 if spec.kind in ("embedding", "vector") else 0.3
    return value.astype(np.float32)


def exact_attention(case: Case) -> Case:
    """The case with heads of size 4, and with queries and keys in its first blocks that make scores exact.

    A query is the input, a key the input turned by one place: of whole numbers the scores are multiples of 1/2.
    """
    weights = dict(case.weights)
    configs: dict[str, Any] = {}
    for tower in ("text", "vision"):
        config = getattr(case.config, f"{tower}_config")
        hidden = config.hidden_size
        configs[f"{tower}_config"] = replace(config, num_attention_heads=hidden // 4)
        for name, places in (("q", 0), ("k", 1)):
            path = f"{tower}_model.encoder.layers.0.self_attn.{name}_proj"
            weights[f"{path}.weight"] = np.roll(np.eye(hidden, dtype=np.float32), places, axis=0)
            weights[f"{path}.bias"] = np.zeros(hidden, np.float32)
    return Case(f"{case.name}, exact scores", replace(case.config, **configs), weights)


def text_inputs(
    config: CLIPTextConfig, batch: int, *, seed: int = 1, positions: bool = False, full: bool = False
) -> dict[str, NDArray[np.int64]]:
    """Ids and mask ``[batch, token]`` (and shifted positions) with ends at different places, padding at the right.

    There is one token less than fits (room to shift positions) unless the text is to be ``full``.

    Ids that the other end-of-text rule would pool at stand before each end.
    """
    generator = np.random.default_rng(seed)
    length = config.max_position_embeddings - (0 if full else 1)
    legacy = config.eos_token_id == 2
    end = config.vocab_size - 1 if legacy else config.eos_token_id
    allowed = np.setdiff1d(np.arange(config.vocab_size), [end])
    ids = generator.choice(allowed, (batch, length))
    mask = np.zeros((batch, length), np.int64)
    for row in range(batch):
        place = length - 1 - row % (length - 2)
        ids[row, place - 1] = 2 if legacy else max(allowed)
        ids[row, place] = end
        ids[row, place + 1 :] = (end, 0)[row % 2]  # both habits of padding
        mask[row, : place + 1] = 1
    inputs = {"input_ids": ids.astype(np.int64), "attention_mask": mask}
    return {**inputs, "position_ids": np.arange(1, length + 1)[None]} if positions else inputs


def pixel_inputs(
    config: CLIPVisionConfig, batch: int, *, seed: int = 2, size: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """Images ``[batch, channel, height, width]`` of unit-normal noise."""
    height, width = size or (config.image_size, config.image_size)
    shape = (batch, config.num_channels, height, width)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def full_inputs(config: CLIPConfig, texts: int, images: int) -> dict[str, NDArray[Any]]:
    """Inputs of the full model."""
    return {**text_inputs(config.text_config, texts), "pixel_values": pixel_inputs(config.vision_config, images)}
