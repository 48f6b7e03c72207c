"""The 1,914 concepts: what each emoji is called, by several sources."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from pretraining.fetch import read_package_json

SHORTCODE_FILES = ("cldr", "emojibase", "github", "iamcal", "joypixels")
VARIATION_SELECTOR = "fe0f"


@dataclass(frozen=True, kw_only=True)
class Concept:
    """One emoji: its code points, its group, its names (the CLDR name first), its keywords and its short codes."""

    codepoints: str
    group: str
    names: tuple[str, ...]
    keywords: tuple[str, ...]
    shortcodes: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.names[0]

    @property
    def is_flag(self) -> bool:
        return self.group == "Flags"


@cache
def load_concepts() -> tuple[Concept, ...]:
    """All concepts, in Unicode's order."""
    listed = read_package_json("unicode-emoji-json", "data-by-emoji.json")
    annotations = read_package_json("cldr-annotations-full", "annotations/en/annotations.json")
    annotations = annotations["annotations"]["annotations"]
    emojibase = {normal_codepoints(e["hexcode"]): e for e in read_package_json("emojibase-data", "en/data.json")}
    shortcodes = [read_package_json("emojibase-data", f"en/shortcodes/{name}.json") for name in SHORTCODE_FILES]
    by_codepoints = [{normal_codepoints(key): value for key, value in table.items()} for table in shortcodes]
    concepts = []
    for emoji, entry in listed.items():
        codepoints = codepoints_of(emoji)
        annotation = annotations.get(emoji) or annotations.get(emoji.replace("\ufe0f", "")) or {}
        other = emojibase.get(codepoints, {})
        names = [*annotation.get("tts", ()), readable(entry["name"]), readable(other.get("label", ""))]
        keywords = [*annotation.get("default", ()), *other.get("tags", ())]
        codes = [code for table in by_codepoints for code in as_list(table.get(codepoints, []))]
        concepts.append(
            Concept(
                codepoints=codepoints,
                group=entry["group"],
                names=unique(map(readable, names)),
                keywords=unique(map(readable, keywords)),
                shortcodes=unique([entry["slug"], *codes]),
            )
        )
    return tuple(concepts)


def codepoints_of(emoji: str) -> str:
    """``"2764-200d-1f525"`` of an emoji, without the variation selectors that sources disagree about."""
    return normal_codepoints("-".join(f"{ord(character):x}" for character in emoji))


def normal_codepoints(codepoints: str) -> str:
    parts = [part.lstrip("0") for part in codepoints.lower().split("-")]
    return "-".join(part for part in parts if part != VARIATION_SELECTOR)


def readable(name: str) -> str:
    """A name as one would say it: ``"flag: Peru"`` becomes ``"flag of peru"``."""
    name = re.sub(r"^flag(:| of)? +", "flag of ", name.strip().lower())
    return re.sub(r"\s+", " ", name.replace(":", "").replace("“", "").replace("”", "")).strip()


def unique(items: Iterable[str]) -> tuple[str, ...]:
    """The items that are not empty, each once, in order."""
    return tuple(dict.fromkeys(item for item in items if item))


def as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def joined(name: str) -> str:
    """A name without what icon sets disagree about: case, spaces, hyphens and quotes."""
    return re.sub(r"[^a-z0-9+#*]", "", name.lower())


def concepts_by_joined_name(extra: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Index of the concept for every joined name that means exactly one.

    Args:
        extra: icon names and their code points, from the icon sets that say both.
    """
    concepts = load_concepts()
    index = {concept.codepoints: i for i, concept in enumerate(concepts)}
    certain = {joined(concept.name): i for i, concept in enumerate(concepts)}
    pairs = {(joined(name), i) for i, c in enumerate(concepts) for name in (*c.names, *c.shortcodes)}
    pairs |= {(joined(c.name.removeprefix("flag of ")), i) for i, c in enumerate(concepts) if c.is_flag}
    pairs |= {(joined(name), index[points]) for name, points in extra if points in index}
    meanings = Counter(name for name, _ in pairs)
    return {name: i for name, i in pairs if meanings[name] == 1} | certain
