"""The rows of the table of published models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The sizes of a model.

    Attributes:
        name: as open_clip has it, such as ``ViT-H-14``.
        parameters: how many its weights are; running statistics are none.
        sizes: what a configuration says, but for the activation, in the words of ``config.json``.
    """

    name: str
    parameters: int
    sizes: Mapping[str, Any]

    @property
    def is_resnet(self) -> bool:
        """Whether the vision tower is a ResNet, whose activation is ReLU."""
        return "stage_depths" in self.sizes["vision_config"]

    @property
    def image_size(self) -> int:
        """Side of the pictures, in pixels."""
        size: int = self.sizes["vision_config"]["image_size"]
        return size

    def described(self, activation: str | None) -> dict[str, Any]:
        """What a ``config.json`` says; without an activation, what of it is known."""
        acts = {"hidden_act": activation} if activation else {}
        vision = {**self.sizes["vision_config"], **({} if self.is_resnet else acts)}
        return {**self.sizes, "text_config": {**self.sizes["text_config"], **acts}, "vision_config": vision}


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is done to a picture.

    Attributes:
        image_mean, image_std: of the channels.
        interpolation: ``"bicubic"`` or ``"bilinear"``.
        resize_mode: ``"shortest"`` makes the shorter side fit and crops the middle, ``"squash"`` makes both fit.
    """

    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    interpolation: str
    resize_mode: str


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the files of a model are.

    Attributes:
        hub: a repository of the hub.
        layout: ``"open_clip"``, where these of its files are meant.
        file: the only one of it that is this model.
        url: the address of a file.
        sha256: of the file at the address, or how it begins.
    """

    hub: str = ""
    layout: str = ""
    file: str = ""
    url: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        return self.url or (f"{self.hub} ({self.file})" if self.file else self.hub)


@dataclass(frozen=True, kw_only=True)
class PublishedModel:
    """A row of the table.

    Attributes:
        name: OpenAI's, or open_clip's architecture and tag, such as ``ViT-H-14/laion2b_s32b_b79k``, or one's own.
        architecture: its sizes.
        activation: of the transformers in it; ``None`` where its own files alone tell it.
        preprocessing: of its pictures.
        source: where it is fetched from under its name.
        also: where else it lies.
        licence: of the weights, where their publisher says it, as SPDX has it or the hub.
        note: what else is to be known.
    """

    name: str
    architecture: Architecture
    activation: str | None
    preprocessing: Preprocessing
    source: Place
    also: tuple[Place, ...] = field(default=())
    licence: str = ""
    note: str = ""

    @property
    def places(self) -> tuple[Place, ...]:
        """Everywhere it lies."""
        return (self.source, *self.also)

    @property
    def described(self) -> dict[str, Any]:
        """What its ``config.json`` says, as far as that is known."""
        return self.architecture.described(self.activation)

    def to_dict(self) -> dict[str, Any]:
        """The row, ready for JSON."""
        return {
            "name": self.name,
            "architecture": self.architecture.name,
            "parameters": self.architecture.parameters,
            "config": self.described,
            "preprocessing": {**vars(self.preprocessing), "size": self.architecture.image_size},
            "source": _filled(self.source),
            "also": [_filled(place) for place in self.also],
            "licence": self.licence or None,
            "note": self.note or None,
        }


def _filled(place: Place) -> dict[str, str]:
    return {name: value for name, value in vars(place).items() if value}


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_FOLDER / name).read_text(encoding="utf-8"))
    return found


@cache
def architectures() -> Mapping[str, Architecture]:
    """All architectures by name."""
    return {
        name: Architecture(
            name=name,
            parameters=found["parameters"],
            sizes={key: value for key, value in found.items() if key != "parameters"},
        )
        for name, found in _read("architectures.json")["architectures"].items()
    }


@cache
def models() -> Mapping[str, PublishedModel]:
    """All rows by name, in the order of the table."""
    table = _read("models.json")
    preprocessing = {name: _preprocessing(found) for name, found in table["preprocessing"].items()}
    return {
        row["name"]: PublishedModel(
            **{
                **row,
                "architecture": architectures()[row["architecture"]],
                "preprocessing": preprocessing[row["preprocessing"]],
                "source": Place(**row["source"]),
                "also": tuple(Place(**place) for place in row.get("also", ())),
            }
        )
        for row in table["models"]
    }


def _preprocessing(found: Mapping[str, Any]) -> Preprocessing:
    statistics = {key: tuple(found[key]) for key in ("image_mean", "image_std")}
    return Preprocessing(**{**found, **statistics})
