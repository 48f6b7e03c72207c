"""Which published model a name means, and where it is fetched from; what could be several is refused with a list.

Names are OpenAI's (``ViT-L/14@336px``), open_clip's architecture and tag (``ViT-H-14/laion2b_s32b_b79k``, also with a
colon), repositories of the hub (``laion/CLIP-ViT-H-14-laion2B-s32B-b79K``) and those of a few others.
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from clip_core.errors import CheckpointNotFoundError
from clip_core.published.table import Place, PublishedModel, architectures, models

QUICK_GELU_SUFFIX = "-quickgelu"


@dataclass(frozen=True)
class Named:
    """What a name means: a model, and the place that it is fetched from under this name."""

    model: PublishedModel
    place: Place


def find_named(name: str) -> Named | None:
    """The published model of that name; none where it is no such name.

    Raises:
        CheckpointNotFoundError: it is the name of an architecture or of a repository with several models, or one of
            open_clip's with a tag that there is not, and the message lists what there is; or a name that differs in
            case or spaces, as somebody else's repository would.
    """
    found = models().get(name) or _by_tag(name)
    if found is not None:
        return Named(found, found.source)
    of_hub = _by_hub().get(name, ())
    if len(of_hub) == 1:
        return of_hub[0]
    if of_hub:
        raise _ambiguous(name, "holds several models", [named.model.name for named in of_hub])
    _refuse_other_spelling(name)
    base, _, tag = name.replace(":", "/").partition("/")
    plain = base.removesuffix(QUICK_GELU_SUFFIX)
    if plain not in architectures():
        return None
    there = [model.name for model in models().values() if model.architecture.name == plain]
    if not there:
        raise CheckpointNotFoundError(f"{name}: no such directory, and no model of that architecture was published.")
    if not tag:
        raise _ambiguous(name, "is an architecture, which several models have", there)
    raise _ambiguous(
        name, "is no published model of that architecture", difflib.get_close_matches(name, there) or there
    )


def _ambiguous(name: str, what: str, listed: list[str]) -> CheckpointNotFoundError:
    there = "".join(f"\n  {each}" for each in listed) or " none"
    return CheckpointNotFoundError(f"{name}: no such directory, and it {what}. Say which, of:{there}")


def _refuse_other_spelling(name: str) -> None:
    meant = _by_spelling().get(_spelling(name))
    if meant is not None:
        raise CheckpointNotFoundError(f"{name}: no such directory, and no published model. Did you mean {meant}?")


def _spelling(name: str) -> str:
    """What names have in common that differ in case, spaces, a colon or a slash at the end."""
    return name.strip().rstrip("/").replace(":", "/").casefold()


@cache
def _by_spelling() -> Mapping[str, str]:
    return {_spelling(name): name for name in (*models(), *_by_hub())}


def _by_tag(name: str) -> PublishedModel | None:
    """The model of an architecture and a tag of open_clip; ``-quickgelu`` where that is the tag's activation."""
    architecture, _, tag = name.replace(":", "/").partition("/")
    plain = architecture.removesuffix(QUICK_GELU_SUFFIX)
    found = _by_architecture_and_tag().get((plain, tag))
    return None if found and plain != architecture and found.activation != "quick_gelu" else found


@cache
def _by_architecture_and_tag() -> Mapping[tuple[str, str], PublishedModel]:
    found = {}
    for model in models().values():
        plain, _, tag = model.name.partition("/")
        if plain == model.architecture.name and tag:
            found[plain, tag] = model
        elif "openaipublic" in model.source.url:
            found[model.architecture.name, "openai"] = model
    return found


@cache
def _by_hub() -> Mapping[str, list[Named]]:
    found = defaultdict(list)
    for model in models().values():
        for place in model.places:
            if place.hub:
                found[place.hub].append(Named(model, place))
    return {hub: [each for each in named if not each.place.layout] or named for hub, named in found.items()}


@cache
def by_digest() -> Mapping[str, PublishedModel]:
    """The models whose files have a published SHA-256, by it."""
    return {place.sha256: model for model in models().values() for place in model.places if len(place.sha256) == 64}
