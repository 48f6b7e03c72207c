from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pretraining import concepts, icons

EMOJI = {
    "🧠": {"name": "brain", "slug": "brain", "group": "People & Body"},
    "🇵🇪": {"name": "flag Peru", "slug": "flag_peru", "group": "Flags"},
    "🍎": {"name": "red apple", "slug": "red_apple", "group": "Food & Drink"},
}
FILES: dict[tuple[str, str], Any] = {
    ("unicode-emoji-json", "data-by-emoji.json"): EMOJI,
    ("cldr-annotations-full", "annotations/en/annotations.json"): {
        "annotations": {"annotations": {"🧠": {"default": ["intelligent"], "tts": ["brain"]}}}
    },
    ("emojibase-data", "en/data.json"): [{"hexcode": "1F34E", "label": "red apple", "tags": ["fruit"]}],
    ("coded", "icons.json"): {
        "width": 20,
        "height": 10,
        "icons": {"brain": {"body": "b"}, "brain-low": {"body": "l"}, "peru": {"body": "p", "left": 3, "width": 14}},
    },
    ("coded", "chars.json"): {"1f9e0": "brain", "e319": "brain", "1f1f5-1f1ea": "peru"},
    ("named", "icons.json"): {
        "icons": {
            "redapple": {"body": "r"},
            "flag-for-peru": {"body": "f"},
            "brain-2": {"body": "b"},
            "x": {"body": "x"},
        }
    },
}
CACHED = (
    concepts.load_concepts,
    icons.names_with_codepoints,
    icons.concepts_by_codepoints,
    icons.concepts_of_names,
)


@pytest.fixture(autouse=True)
def small_packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for module in (concepts, icons):
        monkeypatch.setattr(module, "read_package_json", lambda package, member: FILES.get((package, member), {}))
    for function in CACHED:
        function.cache_clear()
    yield
    for function in CACHED:
        function.cache_clear()


def shown(style: str) -> dict[str, str]:
    return {icon.name: concepts.load_concepts()[icon.concept].name for icon in icons.load_icons(style)}


def test_code_points_decide_where_a_set_gives_them() -> None:
    assert shown("coded") == {"brain": "brain", "peru": "flag of peru"}


def test_other_sets_are_matched_by_name_whatever_its_spelling() -> None:
    assert shown("named") == {"redapple": "red apple", "flag-for-peru": "flag of peru", "brain-2": "brain"}


def test_a_view_box_is_the_icons_own_or_that_of_its_set() -> None:
    assert {icon.name: icon.view_box for icon in icons.load_icons("coded")} == {
        "brain": (0, 0, 20, 10),
        "peru": (3, 0, 14, 10),
    }


def test_keywords_and_names_come_from_all_sources() -> None:
    brain, _, apple = concepts.load_concepts()
    assert (brain.names, brain.keywords) == (("brain",), ("intelligent",))
    assert (apple.names, apple.keywords) == (("red apple",), ("fruit",))


def test_a_name_of_two_concepts_means_neither() -> None:
    pairs = [("meal", "1f9e0"), ("meal", "1f34e"), ("head", "1f9e0")]
    by_name = concepts.concepts_by_joined_name(pairs)
    assert "meal" not in by_name
    assert by_name["head"] == 0
