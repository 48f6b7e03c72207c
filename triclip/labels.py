"""Labels and the texts that describe them to a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from clip_core.errors import InputError

DEFAULT_TEMPLATE = "a photo of a {}"


def parse_labels(content: bytes, source: str) -> list[str]:
    """The labels of a file: UTF-8, one per line; blank lines and lines that begin with ``#`` do not count.

    Raises:
        InputError: not UTF-8, or no label in it.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{source}: expected UTF-8 text, one label per line, got byte {content[error.start]:#04x} in line {line}. "
            "Save the file as UTF-8."
        ) from error
    lines = [line.strip() for line in text.splitlines()]
    labels = [line for line in lines if line and not line.startswith("#")]
    if not labels:
        raise InputError(f"{source}: expected one label per line, got none. Write at least one that is no # comment.")
    return labels


def merge_labels(labels: Iterable[str]) -> tuple[list[str], list[str]]:
    """Labels without repetitions, in order of first appearance; and those that were repeated."""
    counts = Counter(labels)
    return list(counts), [label for label, count in counts.items() if count > 1]


def fill_templates(labels: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every template with every label: label by label, the templates of one label side by side.

    Raises:
        InputError: a template has no place for the label.
    """
    for template in templates:
        if "{}" not in template:
            raise InputError(f"template {template!r}: expected {{}} where the label goes, as in 'a photo of a {{}}'.")
    return [template.replace("{}", label) for label in labels for template in templates]
