"""Which drawing of an icon set shows which concept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pretraining.concepts import concepts_by_joined_name, joined, load_concepts, normal_codepoints
from pretraining.fetch import read_package_json

TRAINING_STYLES = (
    "noto",
    "noto-v1",
    "fluent-emoji",
    "fluent-emoji-flat",
    "twemoji",
    "fxemoji",
    "emojione",
    "streamline-emojis",
)
TEST_STYLE = "openmoji"
STYLES_WITH_CODEPOINTS = ("noto", "fluent-emoji-flat", "twemoji")


@dataclass(frozen=True, kw_only=True)
class Icon:
    """One drawing: the inside of an ``<svg>`` element, its view box and the index of the concept that it shows."""

    style: str
    name: str
    body: str
    view_box: tuple[float, float, float, float]
    concept: int


def load_icons(style: str) -> Iterator[Icon]:
    """The drawings of a style whose concept is known."""
    data = read_package_json(style, "icons.json")
    for name, entry in data["icons"].items():
        concept = concept_of(style, name)
        if concept is not None:
            width, height = (entry.get(side, data.get(side, 16)) for side in ("width", "height"))
            view_box = (entry.get("left", 0), entry.get("top", 0), width, height)
            yield Icon(style=style, name=name, body=entry["body"], view_box=view_box, concept=concept)


def concept_of(style: str, name: str) -> int | None:
    """Index of the concept of an icon: by code points where the set says them, else by its name."""
    if names_with_codepoints(style):
        known = concepts_by_codepoints()
        return next((known[points] for points in names_with_codepoints(style).get(name, ()) if points in known), None)
    by_name = concepts_of_names()
    spoken = re.sub(r"^flag-for-(flag-)?", "flag-of-", name)
    without_number = re.sub(r"-\d$", "", spoken)
    for candidate in (name, spoken, without_number):
        if joined(candidate) in by_name:
            return by_name[joined(candidate)]
    return None


@cache
def names_with_codepoints(style: str) -> dict[str, list[str]]:
    """Icon name -> its code points; a set may give private ones beside those of Unicode."""
    names: dict[str, list[str]] = {}
    for points, name in read_package_json(style, "chars.json").items():
        names.setdefault(name, []).append(normal_codepoints(points))
    return names


@cache
def concepts_by_codepoints() -> dict[str, int]:
    return {concept.codepoints: i for i, concept in enumerate(load_concepts())}


@cache
def concepts_of_names() -> dict[str, int]:
    pairs = [
        (name, points)
        for style in STYLES_WITH_CODEPOINTS
        for name, alternatives in names_with_codepoints(style).items()
        for points in alternatives
    ]
    return concepts_by_joined_name(pairs)
