"""Seeded initial weights, drawn in NumPy from the weight table: one seed gives the same model in every framework.

The recipe is that of transformers' ``CLIPPreTrainedModel``: normal distributions, LayerNorms 1 and 0, biases 0. For a
ResNet tower, which it has not, it is OpenAI's: convolutions as wide as torch draws them, batch normalisation 1 and 0,
but the last scale of each bottleneck 0, so that a block adds nothing to its shortcut at first.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.config import CLIPConfig, CLIPTextConfig, CLIPVisionConfig
from clip_core.weights import COUNTER_DTYPE, WeightSpec, weight_specs


def draw_weights(
    config: CLIPConfig | CLIPTextConfig | CLIPVisionConfig, *, seed: int, projection: bool = False
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Name and value of every weight of `weight_specs`, one at a time.

    Each weight has a random stream of its own, keyed by seed and name: a tower alone gets the same values as inside
    the full model with the same projection widths.
    """
    for spec in weight_specs(config, projection=projection):
        yield spec.name, draw_weight(spec, config, seed)


def draw_weight(spec: WeightSpec, config: CLIPConfig | CLIPTextConfig | CLIPVisionConfig, seed: int) -> NDArray[Any]:
    """One weight of the table of ``config``, float32 (counters int64), in the layout of checkpoints."""
    if spec.kind == "scalar":
        assert isinstance(config, CLIPConfig)
        return np.array(config.logit_scale_init_value, np.float32)
    if spec.kind == "counter":
        return np.zeros(spec.shape, COUNTER_DTYPE)
    if spec.kind in ("norm_scale", "norm_variance"):
        ends_block = ".layer" in spec.path and spec.path.endswith(".bn3")  # the stem has a bn3, too
        return np.full(spec.shape, 0 if ends_block and spec.kind == "norm_scale" else 1, np.float32)
    if spec.kind in ("norm_bias", "norm_mean", "linear_bias"):
        return np.zeros(spec.shape, np.float32)
    key = hashlib.sha256(f"{seed}:{spec.name}".encode()).digest()
    generator = np.random.Generator(np.random.Philox(int.from_bytes(key[:16], "little")))
    values: NDArray[np.float32] = generator.standard_normal(spec.shape, np.float32)
    values *= np.float32(standard_deviation(spec, config))
    return values


def standard_deviation(spec: WeightSpec, config: CLIPConfig | CLIPTextConfig | CLIPVisionConfig) -> float:
    """The standard deviation of a drawn weight."""
    tower = _tower_of(spec, config)
    owner = spec.path.split(".")[-1]
    width = 1 / math.sqrt(tower.hidden_size)
    if isinstance(tower, CLIPVisionConfig) and tower.is_resnet and owner not in ("visual_projection", "classifier"):
        fan_in = math.prod(spec.shape[1:])
        return (1 / math.sqrt(3 * fan_in) if spec.kind == "conv" else width) * tower.initializer_factor
    depth = 1 / math.sqrt(2 * max(tower.num_hidden_layers, 1))
    if spec.kind == "embedding" or owner == "patch_embedding":
        return tower.initializer_range * tower.initializer_factor
    factor = config.initializer_factor if isinstance(config, CLIPConfig) else tower.initializer_factor
    if owner in ("text_projection", "visual_projection", "classifier"):
        return width * factor
    scale = {"fc1": 1 / math.sqrt(2 * tower.hidden_size), "class_embedding": width, "out_proj": width}
    return scale.get(owner, width * depth) * tower.initializer_factor


def _tower_of(
    spec: WeightSpec, config: CLIPConfig | CLIPTextConfig | CLIPVisionConfig
) -> CLIPTextConfig | CLIPVisionConfig:
    if isinstance(config, CLIPConfig):
        return config.text_config if spec.path.startswith("text") else config.vision_config
    return config
