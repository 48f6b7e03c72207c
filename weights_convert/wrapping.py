"""What others put around a model: keys of training checkpoints, prefixes of wrapper modules, larger models.

A file is searched for every prefix under which some format has a model. The only one is taken off, with a note; of
several none is guessed, and a key or a prefix says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from clip_core.checkpoint.tensors import Tensor
from clip_core.errors import CheckpointFormatError
from weights_convert.containers.opened import Container
from weights_convert.formats import FORMATS

_TRANSPARENT = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""Modules that torch puts around any other, at any place of a path; they hold nothing of their own."""
_ADAPTER = re.compile(
    r"(?:^|[._])(?:lora_(?:[AB]|down|up|linear_layer|embedding_[AB]|magnitude_vector)|base_layer|modules_to_save)(?:\.|$)"
)
_MOST_PARTS = 12  # the longest names of any format have 9
_MOST_PREFIXES = 24


@dataclass(frozen=True)
class Unwrapped:
    """A container without what was around its model, what was in front of its names, and notes for people on both."""

    container: Container
    prefix: str = ""
    notes: tuple[str, ...] = ()


def unwrapped(container: Container, key: str | None = None, prefix: str | None = None) -> Unwrapped:
    """The only model in a container, or the one that is asked for; a container without any comes back as it is.

    Args:
        key: where in the file the model is, such as ``model_ema``; what is in front of its names there is found.
        prefix: what is in front of its names, such as ``conditioner.embedders.0.transformer.``.

    Raises:
        CheckpointFormatError: several models, none where it is asked for, or an adapter that is not merged.
    """
    plain = _without_transparent(container)
    found = _models(plain)
    chosen = [each for each in found if _is_asked_for(each, key, prefix)]
    if prefix in chosen:
        chosen = [prefix]  # it may be the end of a longer one too
    if len(chosen) == 1:
        under = _without_others(plain, chosen[0], found)
    elif found or key is not None or prefix is not None:
        what = "several models" if chosen else "no model where it is asked for"
        listed = "".join(f"\n  {each!r} ({', '.join(_claims(under))})" for each, under in found.items()) or " none"
        raise CheckpointFormatError(
            f"{container.path}: holds {what}. Say which with --prefix (prefix= in Python), one of:{listed}"
        )
    else:
        under = plain
    _refuse_adapters(under)
    return Unwrapped(under, "".join(chosen), tuple(_notes(container, plain, under, *chosen)))


def _refuse_adapters(container: Container) -> None:
    adapters = [name for name in container.tensors if _ADAPTER.search(name)]
    if adapters:
        raise CheckpointFormatError(
            f"{container.path}: holds an adapter that is not merged into its weights ({adapters[0][:100]!r}). Call "
            "merge_and_unload() of the PEFT model, save what it returns with save_pretrained(), and convert that."
        )


def _without_transparent(container: Container) -> Container:
    names = {name: _TRANSPARENT.sub("", name) for name in container.tensors}
    if len(set(names.values())) < len(names):  # a model beside its wrapped self: two models, of which none is guessed
        return container
    return replace(container, tensors={plain: container.tensors[name] for name, plain in names.items()})


def _models(container: Container) -> dict[str, Container]:
    """The prefixes under which there is a model, and what is under each; parts of a model are none."""
    prefixes = sorted(_prefixes(container.tensors), key=lambda prefix: (len(prefix), prefix))
    if len(prefixes) > _MOST_PREFIXES:
        raise CheckpointFormatError(
            f"{container.path}: refused, since {len(prefixes)} prefixes may hold models, more than {_MOST_PREFIXES}."
        )
    found: dict[str, Container] = {}
    for prefix in prefixes:
        under = replace(container, tensors=_under(container.tensors, prefix))
        outer = max((other for other in found if prefix.startswith(other)), key=len, default=None)
        if _claims(under) and (outer is None or not _is_part(found[outer], prefix[len(outer) :])):
            found[prefix] = under
    return found


def _prefixes(names: Iterable[str]) -> set[str]:
    """What is in front of any name that a format knows its models by."""
    known = {name for format_ in FORMATS.values() for name in format_.marks}
    prefixes = {""}
    for name in names:
        prefixes.update(name[:end] for end in _ends(name) if name[end:] in known)
    return prefixes


def _ends(name: str) -> Iterator[int]:
    """Where prefixes can end, the longest first; bounded, since a name can have any number of parts."""
    end = len(name)
    for _ in range(_MOST_PARTS):
        end = max(name.rfind(separator, 0, end) for separator in "./")
        if end < 0:
            return
        yield end + 1


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _claims(container: Container) -> dict[str, tuple[bool, ...]]:
    """The formats that recognise a container, and which towers each finds."""
    return {name: format_.towers(container) for name, format_ in FORMATS.items() if format_.recognises(container)}


def _is_part(container: Container, prefix: str) -> bool:
    """Whether what is under a prefix belongs to the model in the container, which is another one without it."""
    rest = {name: tensor for name, tensor in container.tensors.items() if not name.startswith(prefix)}
    return _claims(replace(container, tensors=rest)) != _claims(container)


def _is_asked_for(found: str, key: str | None, prefix: str | None) -> bool:
    in_key = key is None or f"{found}."[: len(key) + 1] in (f"{key}.", f"{key}/")
    ends = prefix is None or found == prefix or bool(prefix and found.endswith((f".{prefix}", f"/{prefix}")))
    return in_key and ends


def _without_others(container: Container, prefix: str, found: Iterable[str]) -> Container:
    """What is under a prefix, but for other models that are inside of it."""
    others = tuple(other for other in found if other != prefix and other.startswith(prefix))
    own = {name: tensor for name, tensor in container.tensors.items() if not (others and name.startswith(others))}
    return replace(container, tensors=_under(own, prefix))


def _notes(container: Container, plain: Container, under: Container, prefix: str = "") -> Iterator[str]:
    if plain.tensors.keys() != container.tensors.keys():
        yield "names: wrapper modules of torch, such as '_orig_mod', were taken out"
    if prefix:
        yield f"names: {prefix!r} was taken off the front"
    left = len(container.tensors) - len(under.tensors)
    if left:
        kept = {f"{prefix}{name}" for name in under.tensors}
        first = next(name for name in plain.tensors if name not in kept)
        more = f" and {left - 1:,} more" if left > 1 else ""
        yield f"left out, since they do not belong to it: {first[:100]!r}{more}"
