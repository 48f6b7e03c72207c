"""`triclip models`: the published models that have a name, and what is known of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import click

from clip_core.commands import echo
from clip_core.errors import CheckpointNotFoundError
from clip_core.published.names import find_named
from clip_core.published.table import Place, PublishedModel
from clip_core.published.table import models as table


@click.command(short_help="List the published models that have a name, or describe one.")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def models(name: str | None, as_json: bool) -> None:
    """List the published models that have a name, or describe one.

    NAME is any that from_pretrained and --model take: OpenAI's (ViT-L/14@336px), open_clip's with its tag
    (ViT-H-14/laion2b_s32b_b79k), a repository of the hub; or an architecture, for all that have it. Nothing is
    downloaded.
    """
    found = list(table().values()) if name is None else _matching(name)
    if as_json:
        described = [model.to_dict() for model in found]
        echo(json.dumps(described[0] if name is not None and len(found) == 1 else described, indent=2))
    elif name is not None and len(found) == 1:
        for line in _description(found[0]):
            echo(line)
    else:
        for line in _listed(found):
            echo(line)


def _matching(name: str) -> list[PublishedModel]:
    of_architecture = [model for model in table().values() if model.architecture.name == name]
    if of_architecture and name not in table():
        return of_architecture
    named = find_named(name)
    if named is None:
        raise CheckpointNotFoundError(f"{name}: no published model of this family. triclip models lists them all.")
    return [named.model]


def _listed(found: list[PublishedModel]) -> Iterator[str]:
    widest = max(len(model.name) for model in found)
    for model in found:
        size = model.architecture.image_size
        of_picture = f"{size} {model.preprocessing.resize_mode}"
        act = model.activation or "?"
        yield f"{model.name:{widest}}  {_millions(model):>6}  {act:10}  {of_picture:12}  {_short(model.source)}"


def _millions(model: PublishedModel) -> str:
    return f"{model.architecture.parameters / 1e6:,.0f}M"


def _description(model: PublishedModel) -> Iterator[str]:
    sizes, known = model.architecture.sizes, model.preprocessing
    yield f"{model.name}: {model.architecture.name}, {model.architecture.parameters:,} parameters"
    yield f"  vision: {_tower(sizes['vision_config'], model)}"
    yield f"  text: {_tower(sizes['text_config'], model)}"
    yield f"  vectors: {sizes['projection_dim']} long"
    resized = "squashed" if known.resize_mode == "squash" else f"{known.resize_mode} side"
    yield f"  pictures: {resized} to {model.architecture.image_size}, {known.interpolation}"
    yield f"    mean {list(known.image_mean)}, std {list(known.image_std)}"
    yield f"  fetched from: {_place(model.source)}"
    for place in model.also:
        yield f"  also at: {_place(place)}"
    yield f"  licence: {model.licence or 'see where it is fetched from'}"
    if model.note:
        yield f"  note: {model.note}"


def _tower(sizes: Mapping[str, Any], model: PublishedModel) -> str:
    heads = f"{sizes['num_attention_heads']} heads"
    if "stage_depths" in sizes:
        depths = "-".join(map(str, sizes["stage_depths"]))
        return f"ResNet {depths}, width {sizes['hidden_size']}, {heads} in its pooling, relu"
    act = model.activation or "its config.json says which activation"
    line = (
        f"{sizes['num_hidden_layers']} layers, width {sizes['hidden_size']}, {heads}, "
        f"MLP {sizes['intermediate_size']}, {act}, eps {sizes['layer_norm_eps']}"
    )
    if "patch_size" in sizes:
        return f"{line}, patches of {sizes['patch_size']}"
    return f"{line}, {sizes['max_position_embeddings']} tokens of {sizes['vocab_size']}"


def _place(place: Place) -> str:
    digest = f", sha256 {place.sha256}{'...' if len(place.sha256) < 64 else ''}" if place.sha256 else ""
    layout = f" (files of {place.layout})" if place.layout else ""
    return f"{place}{layout}{digest}"


def _short(place: Place) -> str:
    parts = place.url.split("/")
    return f"{parts[2]}: {parts[-1]}" if place.url else str(place)
