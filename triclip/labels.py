"""Labels and the texts that describe them to a model."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clip_core.errors import InputError, InputTypeError
from triclip.inputs import listed_texts

DEFAULT_TEMPLATE = "a photo of a {}"

Templates = str | Sequence[str] | Mapping[str, str | Sequence[str]]
"""Texts with ``{}`` where the label goes; or for each label texts of its own, which need no ``{}``."""


def parse_labels(content: bytes, source: str) -> list[str]:
    """The labels of a file: a list in JSON if its name ends so, else one per line.

    Lines are UTF-8; blank ones and those that begin with ``#`` do not count.

    Args:
        source: the name of the file, for messages.

    Raises:
        InputError: not UTF-8, not such JSON, or no label in it.
    """
    if not _is_json(source):
        return _parse_lines(content, source, "label")
    wanted = "a list of labels"
    labels = _parse_json(content, source, wanted)
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) for label in labels):
        raise InputError(f"{source}: expected {wanted}, got {labels!r:.40}.")
    return labels


def _parse_lines(content: bytes, source: str, what: str) -> list[str]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{source}: expected UTF-8 text, one {what} per line, got byte {content[error.start]:#04x} in line {line}. "
            "Save the file as UTF-8."
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    labels = [line for line in lines if line and not line.startswith("#")]
    if not labels:
        raise InputError(f"{source}: expected one {what} per line, got none. Write at least one that is no # comment.")
    return labels


def parse_templates(content: bytes, source: str) -> list[str] | dict[str, Any]:
    """The templates of a file: JSON if its name ends so, else one per line as of `parse_labels`.

    JSON is a list of templates, or an object with a list of texts for each label. Which texts will do is for
    `fill_templates` to say.

    Raises:
        InputError: not UTF-8, not such JSON, a label twice, or nothing in it.
    """
    if not _is_json(source):
        return _parse_lines(content, source, "template")
    wanted = "a list of templates, or an object with a list of texts for each label"
    templates = _parse_json(content, source, wanted)
    if not isinstance(templates, list | dict) or not templates:
        raise InputError(f"{source}: expected {wanted}, got {templates!r:.40}.")
    return templates


def _is_json(source: str) -> bool:
    return source.lower().endswith(".json")


def _parse_json(content: bytes, source: str, wanted: str) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_without_repetition)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: expected JSON, {wanted}, got {error}.") from error


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    repeated = _repeated(name for name, _ in pairs)
    if repeated:
        raise ValueError(f"{repeated[0]!r} twice")
    return dict(pairs)


def merge_labels(labels: Iterable[str]) -> tuple[list[str], list[str]]:
    """Labels without repetitions, in order of first appearance; and those that were repeated."""
    listed = list(labels)
    return list(dict.fromkeys(listed)), _repeated(listed)


def _repeated(texts: Iterable[str]) -> list[str]:
    return [text for text, count in Counter(texts).items() if count > 1]


def fill_templates(labels: Sequence[str], templates: Templates) -> list[list[str]]:
    """Of each label the texts that stand for it: every template with the label, or its own.

    Raises:
        InputError: a label is blank; a template has no place for it; texts of their own are not for these labels;
            or there is no text, or one that is blank or comes twice, which would count double.
        InputTypeError: something is not text.
    """
    blank = [number for number, label in enumerate(labels) if not label.strip()]
    if blank:
        raise InputError(f"labels: expected texts, label {blank[0]} is empty.")
    if isinstance(templates, Mapping):
        return _own_texts(labels, templates)
    templates = _listed(templates, "templates")
    for template in templates:
        if "{}" not in template:
            raise InputError(f"template {template!r}: expected {{}} where the label goes, as in 'a photo of a {{}}'.")
    return [[template.replace("{}", label) for template in templates] for label in labels]


def listed_templates(templates: Templates) -> list[str] | dict[str, list[str]]:
    """Templates as lists: what one string, a tuple or another mapping stands for."""
    if isinstance(templates, Mapping):
        return {label: listed_texts(texts, f"texts of {label!r}") for label, texts in templates.items()}
    return listed_texts(templates, "templates")


def _own_texts(labels: Sequence[str], texts: Mapping[str, Any]) -> list[list[str]]:
    without, unknown = [label for label in labels if label not in texts], sorted(map(str, set(texts) - set(labels)))
    if without or unknown:
        found = f"none for {_some(without)}" if without else f"some for {_some(unknown)}"
        raise InputError(f"templates: expected texts for each of the labels and no others, got {found}.")
    return [[text.replace("{}", label) for text in _listed(texts[label], f"texts of {label!r}")] for label in labels]


def _some(labels: Sequence[str]) -> str:
    return f"{', '.join(map(repr, labels[:3]))}{f' and {len(labels) - 3} more' if len(labels) > 3 else ''}"


def _listed(texts: Any, name: str) -> list[str]:
    if callable(texts) or (isinstance(texts, list | tuple) and any(map(callable, texts))):
        raise InputTypeError(
            f"{name}: expected texts with {{}} where the label goes, got a function. "
            "What it stands for is mostly [template('{}') for template in templates]."
        )
    listed = listed_texts(texts, name)
    if not all(map(str.strip, listed)):
        raise InputError(f"{name}: expected no empty text.")
    repeated = _repeated(listed)
    if repeated:
        raise InputError(f"{name}: {repeated[0]!r} is there twice and would count double. Leave one out.")
    return listed
