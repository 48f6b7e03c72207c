"""What a case of bad input is, and the small valid checkpoint that each case spoils."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clip_core import CLIPConfig, CLIPImageProcessor, CLIPProcessor, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.errors import CLIPError
from clip_core.initialization import draw_weights

Model = Any
"""A full CLIP model of any backend."""


@dataclass(frozen=True)
class Bench:
    """What a case works with.

    Attributes:
        directory: a whole checkpoint, the case's own to spoil.
        config: its configuration.
        load: reads the full model from a directory, in the backend under test.
        build: makes the full model from a configuration, with weights if they are given.
        call: calls the full model with arrays by argument name.
    """

    directory: Path
    config: CLIPConfig
    load: Callable[..., Model]
    build: Callable[..., Model]
    call: Callable[..., Any]

    def inputs(self) -> dict[str, np.ndarray]:
        """A valid call: two texts and two images."""
        end = self.config.text_config.eos_token_id
        side = self.config.vision_config.image_size
        return {
            "input_ids": np.array([[5, 6, 7, end], [8, 9, end, end]]),
            "attention_mask": np.array([[1, 1, 1, 1], [1, 1, 1, 0]]),
            "pixel_values": np.zeros((2, 3, side, side), np.float32),
        }


@dataclass(frozen=True)
class Case:
    """One mistake.

    Attributes:
        title: the mistake in words, unique.
        error: the exception that it gets.
        parts: what the message must hold: what was expected, what came, what to do.
        provoke: makes the mistake.
        needs_model: whether it goes through a backend; otherwise one run tells for all.
    """

    title: str
    error: type[CLIPError]
    parts: tuple[str, ...]
    provoke: Callable[[Bench], object]
    needs_model: bool


CASES: list[Case] = []


def case(
    title: str, error: type[CLIPError], *parts: str, needs_model: bool = False
) -> Callable[[Callable[[Bench], object]], Callable[[Bench], object]]:
    """Decorator: the function makes a mistake; see `Case` for the arguments."""

    def register(provoke: Callable[[Bench], object]) -> Callable[[Bench], object]:
        CASES.append(Case(title, error, parts, provoke, needs_model))
        return provoke

    return register


def cases(needs_model: bool) -> Iterable[Case]:
    """The cases that go through a backend, or those that do not."""
    from conformance_tests.bad_input import checkpoint_cases, model_cases, processor_cases  # noqa: F401  registers

    return [each for each in CASES if each.needs_model == needs_model]


def write_checkpoint(directory: Path) -> CLIPConfig:
    """Writes a whole small checkpoint and a picture; its configuration."""
    tokenizer = CLIPTokenizer.from_merges(200, model_max_length=16)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=40,
        num_attention_heads=3,
        num_hidden_layers=2,
        max_position_embeddings=16,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=56, num_attention_heads=4, num_hidden_layers=2, image_size=20, patch_size=8
    )
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=28)
    weights = dict(draw_weights(config, seed=0, projection=True))
    save_checkpoint(directory, config, weights, architecture="CLIPModel")
    side = {"height": 20, "width": 20}
    CLIPProcessor(CLIPImageProcessor(size={"shortest_edge": 20}, crop_size=side), tokenizer).save_pretrained(directory)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(
        directory / "picture.png"
    )
    return config


def own_copy(source: Path, target: Path) -> Path:
    """A fresh copy of a checkpoint under the same name as every other case has."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target
