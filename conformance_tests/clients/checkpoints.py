"""Tiny random checkpoints, which every client's library and we load: the same weights on both sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig
from clip_core.image.processor import CLIPImageProcessor
from clip_core.initialization import draw_weights
from clip_core.processor import CLIPProcessor
from clip_core.tokenizer.clip import CLIPTokenizer

EMBED = 24
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 37,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "projection_dim": EMBED,  # which transformers reads from the tower, where it loads one from a whole model
}
VISION = {**TEXT, "hidden_size": 40, "num_hidden_layers": 3, "image_size": 30, "patch_size": 6}


def tiny_checkpoint(directory: Path, *, text: Any = None, vision: Any = None, **fields: Any) -> Path:
    """Writes a whole checkpoint, with processor: towers of 5 and 3 blocks and OpenAI's vocabulary, weights of seed 0.

    To every drawn weight a random tenth is added, so that biases count and attention is not nearly uniform.

    Args:
        directory: where to.
        text, vision: fields of the towers' configurations that shall be others.
        fields: of the configuration.
    """
    config = CLIPConfig(
        text_config={**TEXT, **(text or {})},  # type: ignore[arg-type]  # takes dicts
        vision_config={**VISION, **(vision or {})},  # type: ignore[arg-type]
        **{"projection_dim": EMBED, **fields},
    )
    random = np.random.default_rng(0)
    weights = {
        name: value + random.normal(0, 0.1, value.shape).astype(np.float32)
        for name, value in draw_weights(config, seed=0, projection=True)
    }
    save_checkpoint(directory, config, weights, architecture="CLIPModel")
    size = config.vision_config.image_size
    images = CLIPImageProcessor(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    CLIPProcessor(images, CLIPTokenizer()).save_pretrained(directory)
    return directory


def aligned(part: Any) -> Any:
    """A model for torch, or another part of a pipeline as it is, with weights that torch has placed.

    The same bits need the same alignment: torch multiplies a matrix and one vector in an order that depends on where
    the matrix begins, and transformers' weights begin where they lie in the mapped file, at any multiple of 4 bytes.
    """
    for parameter in part.parameters() if hasattr(part, "parameters") else ():
        parameter.data = parameter.data.clone()
    return part
