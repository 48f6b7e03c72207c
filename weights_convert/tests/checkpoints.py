"""Small checkpoints for tests: no two sizes are equal, and yet like OpenAI's, so that every format can hold them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np

from clip_core.checkpoint.safetensors_file import SafetensorsFile, write_safetensors
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig, CLIPVisionConfig
from clip_core.initialization import draw_weights

CONFIG = CLIPConfig(
    projection_dim=40,
    text_config={
        "vocab_size": 61,
        "hidden_size": 64,
        "intermediate_size": 256,
        "projection_dim": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "max_position_embeddings": 11,
        "eos_token_id": 60,
        "bos_token_id": 59,
    },
    vision_config={
        "hidden_size": 128,
        "intermediate_size": 512,
        "projection_dim": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 7,
    },
)
RESNET = replace(
    CONFIG,
    vision_config=CLIPVisionConfig(
        stage_depths=(1, 2, 1, 3), hidden_size=320, num_attention_heads=5, image_size=96, projection_dim=40
    ),
)
"""The same with a ResNet as vision tower."""
DTYPES = {name: np.dtype(name) for name in ("float32", "float16")} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
FORMATS = ("hf", "openai", "open_clip", "hf-tf", "hf-flax", "keras-hub", "keras", "nnx")


def weights(dtype: str = "float32", config: CLIPConfig = CONFIG) -> dict[str, np.ndarray]:
    """Weights of which no two values are alike; ``mixed`` is as OpenAI's GPU files are."""
    draw = np.random.default_rng(0)
    found = {}
    for name, value in draw_weights(config, seed=0):
        if value.dtype == np.int64:
            found[name] = np.array(draw.integers(1, 2**40), np.int64)
            continue
        noisy = value + draw.standard_normal(value.shape).astype(np.float32)
        if name.endswith("running_var"):
            noisy = np.abs(noisy)
        if ".conv" in name or "downsample.0" in name:  # what so many convolutions make of noise shall be finite
            noisy *= np.float32(0.05)
        kept = any(part in name for part in ("norm", "embedding", ".bn", "downsample.1", "logit_scale"))
        found[name] = noisy.astype(DTYPES["float32" if kept else "float16"] if dtype == "mixed" else DTYPES[dtype])
    return found


def save(directory: Path, dtype: str = "float32", given: Mapping[str, np.ndarray] | None = None) -> Path:
    """Saves a checkpoint as Triclip's own models do."""
    save_checkpoint(directory, CONFIG, given or weights(dtype), architecture="CLIPModel")
    return directory


def destination(directory: Path, to: str, stem: str = "") -> Path:
    """Where to write a format: a file for openai, else a directory."""
    return directory / f"{stem}{to}{'.pt' if to == 'openai' else ''}"


def rewrite(path: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    """Renames or changes the tensors of a safetensors file."""
    tensors = {name: np.array(value) for name, value in change(dict(SafetensorsFile(path))).items()}
    layout = {name: (value.dtype, value.shape) for name, value in tensors.items()}
    write_safetensors(path, layout, tensors.items(), {"format": "pt"})
