"""What people might say of a drawing: its names in templates, or some of its keywords."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pretraining.concepts import Concept

TEMPLATES = (
    "{}",
    "a {}",
    "a photo of a {}",
    "a drawing of a {}",
    "a picture of a {}",
    "an icon of a {}",
    "an emoji of a {}",
    "a cartoon {}",
)
PLAIN_PROBABILITY = 0.4
NAME_PROBABILITY = 0.75
CAPTIONS_PER_CONCEPT = 32


def draw_caption(concept: Concept, rng: np.random.Generator) -> str:
    """A random caption: three times in four a name, plain or in a template, else one to three keywords."""
    if concept.keywords and rng.random() >= NAME_PROBABILITY:
        count = min(len(concept.keywords), rng.integers(1, 4))
        subject = " ".join(rng.choice(concept.keywords, count, replace=False))
    else:
        subject = str(rng.choice(concept.names))
    return subject if rng.random() < PLAIN_PROBABILITY else str(rng.choice(TEMPLATES)).format(subject)


def caption_bank(
    concepts: tuple[Concept, ...], encode: Callable[[list[str]], list[list[int]]], context_length: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of `CAPTIONS_PER_CONCEPT` captions per concept, padded at the right with the end-of-text id.

    Args:
        encode: captions to token ids, with start and end of text.

    Returns:
        ids ``[concept, caption, token]`` and lengths ``[concept, caption]``.
    """
    rng = np.random.default_rng(seed)
    captions = [draw_caption(concept, rng) for concept in concepts for _ in range(CAPTIONS_PER_CONCEPT)]
    rows = [row[: context_length - 1] + row[-1:] if len(row) > context_length else row for row in encode(captions)]
    ids = np.full((len(rows), context_length), rows[0][-1], dtype=np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    shape = (len(concepts), CAPTIONS_PER_CONCEPT)
    return ids.reshape(*shape, context_length), np.array([len(row) for row in rows]).reshape(shape)
