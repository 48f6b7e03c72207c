"""Batches: concepts that are all different, one drawing and one caption of each, captions of others as negatives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pretraining.augment import augment
from pretraining.captions import caption_bank
from pretraining.concepts import Concept, load_concepts
from pretraining.recipe import CONTEXT_LENGTH, Recipe
from pretraining.render import VARIANTS, load_drawings

ONE_SIDED_GROUPS = ("Symbols", "Flags")
ONE_SIDED_WORDS = ("left", "right", "clock", "thirty", "facing")
VARIANT_WEIGHTS = {"plain": 0.4, "inked": 0.4, "line": 0.2}
IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Images ``[image, RGB, side, side]`` and captions ``[caption, token]``; image i shows caption i."""

    pixel_values: Tensor
    input_ids: Tensor
    attention_mask: Tensor


class Drawn:
    """All training data in memory. Batch number n is the same in every run with the same recipe."""

    def __init__(self, recipe: Recipe, encode: Callable[[list[str]], list[list[int]]]) -> None:
        self.recipe = recipe
        concepts = load_concepts()
        self.ids, self.lengths = caption_bank(concepts, encode, CONTEXT_LENGTH, recipe.seed)
        self.may_flip = np.array([may_flip(concept) for concept in concepts])
        styles = [load_drawings(style) for style in recipe.styles]
        self.pixels = np.concatenate([style.pixels for style in styles])
        shown = np.concatenate([style.concepts for style in styles])
        self.weights = np.array([VARIANT_WEIGHTS[name] for name in VARIANTS])[
            np.concatenate([style.variants for style in styles])
        ]
        is_flag = np.array([concept.is_flag for concept in concepts])
        self.weights[is_flag[shown] & (np.concatenate([s.variants for s in styles]) == VARIANTS.index("line"))] = 0
        self.drawings = [np.flatnonzero((shown == i) & (self.weights > 0)) for i in range(len(concepts))]
        self.drawn = np.flatnonzero([len(drawings) > 0 for drawings in self.drawings])

    def batch(self, number: int) -> Batch:
        """Batch `number`, from 0."""
        recipe = self.recipe
        concepts, rng = self.concepts_of(number)
        rows = [self.pick(concept, rng) for concept in concepts[: recipe.batch_size]]
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        side = recipe.low_side if number < recipe.low_steps else self.pixels.shape[1]
        images = augment(
            torch.from_numpy(self.pixels[rows]),
            torch.from_numpy(self.may_flip[concepts[: recipe.batch_size]]),
            side,
            generator,
        )
        mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
        choice = rng.integers(self.ids.shape[1], size=len(concepts))
        lengths = torch.from_numpy(self.lengths[concepts, choice])
        longest = int(lengths.max())
        return Batch(
            pixel_values=(images - mean) / std,
            input_ids=torch.from_numpy(self.ids[concepts, choice, :longest]),
            attention_mask=(torch.arange(longest)[None, :] < lengths[:, None]).long(),
        )

    def concepts_of(self, number: int) -> tuple[np.ndarray, np.random.Generator]:
        """Concepts of a batch, then those of its negatives, all different; each concept once per epoch."""
        per_epoch = len(self.drawn) // self.recipe.batch_size
        epoch, place = divmod(number, per_epoch)
        order = np.random.default_rng((self.recipe.seed, 1, epoch)).permutation(self.drawn)
        order = np.roll(order, -place * self.recipe.batch_size)
        rng = np.random.default_rng((self.recipe.seed, 2, number))
        shown, others = order[: self.recipe.batch_size], order[self.recipe.batch_size :]
        return np.concatenate([shown, rng.permutation(others)[: self.recipe.negatives]]), rng

    def pick(self, concept: int, rng: np.random.Generator) -> int:
        drawings = self.drawings[concept]
        weights = self.weights[drawings]
        return int(rng.choice(drawings, p=weights / weights.sum()))


def may_flip(concept: Concept) -> bool:
    """Whether the mirror image of a drawing still shows the concept."""
    return concept.group not in ONE_SIDED_GROUPS and not any(word in concept.name for word in ONE_SIDED_WORDS)
