from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pretraining import dataset as module
from pretraining.concepts import Concept
from pretraining.dataset import Drawn, may_flip
from pretraining.recipe import RECIPE, Recipe
from pretraining.render import VARIANTS, Drawings

WORDS = ("apple", "left arrow", "cat", "dog", "egg", "fox", "gem")
CONCEPTS = tuple(
    Concept(codepoints=word, group="Symbols" if word == "gem" else "Objects", names=(word,), keywords=(), shortcodes=())
    for word in WORDS
)
SIDE = 16


def encode(captions: list[str]) -> list[list[int]]:
    """The concept that a caption names, between start and end."""
    return [[100, next(i for i, word in enumerate(WORDS) if word in caption), 101] for caption in captions]


def drawings(style: str) -> Drawings:
    """One drawing of each concept but the last, in every variant; its grey level says the concept."""
    shown = np.repeat(np.arange(len(WORDS) - 1), len(VARIANTS))
    pixels = np.zeros((len(shown), SIDE, SIDE, 4), dtype=np.uint8)
    pixels[..., :3], pixels[..., 3] = 40 * shown[:, None, None, None], 255
    return Drawings(pixels=pixels, concepts=shown, variants=np.tile(np.arange(len(VARIANTS)), len(WORDS) - 1))


@pytest.fixture
def recipe() -> Recipe:
    return replace(
        RECIPE, styles=("one", "two"), batch_size=2, negatives=3, low_side=12, low_steps=4, steps=9, decay_steps=3
    )


@pytest.fixture
def data(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Drawn:
    monkeypatch.setattr(module, "load_concepts", lambda: CONCEPTS)
    monkeypatch.setattr(module, "load_drawings", drawings)
    return Drawn(recipe, encode)


def test_a_batch_holds_different_concepts_and_small_images_first(data: Drawn) -> None:
    for number, side in ((0, 12), (3, 12), (4, SIDE), (8, SIDE)):
        batch = data.batch(number)
        assert batch.pixel_values.shape == (2, 3, side, side)
        assert batch.input_ids.shape == batch.attention_mask.shape == (5, 3)
        assert len(set(batch.input_ids[:, 1].tolist())) == 5


def test_image_i_shows_caption_i(data: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "augment", lambda pixels, *_: pixels[..., :3].permute(0, 3, 1, 2).float())
    mean, std = (torch.tensor(values)[:, None, None] for values in (module.IMAGE_MEAN, module.IMAGE_STD))
    batch = data.batch(1)
    shown = ((batch.pixel_values * std + mean).mean((1, 2, 3)) / 40).round().long()
    assert shown.tolist() == batch.input_ids[:2, 1].tolist()


def test_every_drawn_concept_is_shown_once_per_epoch(data: Drawn) -> None:
    epoch = [i for number in range(3) for i in data.concepts_of(number)[0][:2]]
    assert sorted(epoch) == [0, 1, 2, 3, 4, 5]


def test_batches_are_repeatable(data: Drawn) -> None:
    assert torch.equal(data.batch(5).pixel_values, data.batch(5).pixel_values)


def test_what_has_a_left_and_a_right_is_not_mirrored() -> None:
    assert [may_flip(concept) for concept in CONCEPTS] == [True, False, True, True, True, True, False]
