from __future__ import annotations

import numpy as np
import pytest

from pretraining.captions import CAPTIONS_PER_CONCEPT, TEMPLATES, caption_bank, draw_caption
from pretraining.concepts import Concept, codepoints_of, joined, normal_codepoints, readable

APPLE = Concept(
    codepoints="1f34e",
    group="Food & Drink",
    names=("red apple",),
    keywords=("fruit", "health", "ripe"),
    shortcodes=("red_apple",),
)
NAMELESS_KEYWORDS = Concept(
    codepoints="1f1f5-1f1ea", group="Flags", names=("flag of peru",), keywords=(), shortcodes=()
)


def encode_letters(captions: list[str]) -> list[list[int]]:
    return [[98, *(ord(letter) - 97 for letter in caption if letter.isalpha()), 99] for caption in captions]


def test_captions_are_a_name_or_keywords_in_a_template() -> None:
    rng = np.random.default_rng(0)
    captions = {draw_caption(APPLE, rng) for _ in range(400)}
    assert {"red apple", "a photo of a red apple", "fruit"} <= captions
    for caption in captions:
        starts = {template.format("") for template in TEMPLATES}
        subject = next(caption.removeprefix(s) for s in sorted(starts, key=len, reverse=True) if caption.startswith(s))
        assert subject == "red apple" or set(subject.split()) <= set(APPLE.keywords)


def test_a_concept_without_keywords_is_called_by_its_name() -> None:
    rng = np.random.default_rng(1)
    assert all("flag of peru" in draw_caption(NAMELESS_KEYWORDS, rng) for _ in range(50))


def test_caption_bank_pads_with_the_end_of_text_and_cuts_before_it() -> None:
    ids, lengths = caption_bank((APPLE, NAMELESS_KEYWORDS), encode_letters, context_length=11, seed=3)
    assert ids.shape == (2, CAPTIONS_PER_CONCEPT, 11)
    assert lengths.max() == 11
    for row, length in zip(ids.reshape(-1, 11), lengths.ravel(), strict=True):
        assert row[0] == 98
        assert (row[length - 1 :] == 99).all()
        assert (row[: length - 1] != 99).all()


def test_caption_bank_is_the_same_for_the_same_seed() -> None:
    first, second, other = (caption_bank((APPLE,), encode_letters, context_length=13, seed=s)[0] for s in (5, 5, 6))
    assert (first == second).all()
    assert (first != other).any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("flag: Peru", "flag of peru"), ("flag of  Peru", "flag of peru"), ("“free” Button", "free button")],
)
def test_readable(name: str, expected: str) -> None:
    assert readable(name) == expected


def test_names_and_codepoints_that_differ_in_spelling_only_are_equal() -> None:
    assert joined("Red-Apple") == joined("red apple") == "redapple"
    assert codepoints_of("❤️‍🔥") == normal_codepoints("2764-FE0F-200D-1F525") == "2764-200d-1f525"
    assert codepoints_of("#️⃣") == normal_codepoints("0023-20e3") == "23-20e3"
