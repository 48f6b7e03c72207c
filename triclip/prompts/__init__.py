"""ImageNet's class names, and the templates that CLIP's authors put them in; source and licences: NOTICE.md."""

from __future__ import annotations

from pathlib import Path


def _lines(name: str) -> tuple[str, ...]:
    return tuple((Path(__file__).parent / name).read_text(encoding="utf-8").splitlines())


OPENAI_IMAGENET_TEMPLATES: tuple[str, ...] = _lines("openai_imagenet_templates.txt")
SIMPLE_IMAGENET_TEMPLATES: tuple[str, ...] = _lines("simple_imagenet_templates.txt")
IMAGENET_LABELS: tuple[str, ...] = _lines("imagenet_labels.txt")
"""In the order of the classes. Two names are those of two classes each, so that places are right: 998 are distinct."""

TEMPLATE_SETS = {"imagenet": OPENAI_IMAGENET_TEMPLATES, "simple": SIMPLE_IMAGENET_TEMPLATES}
"""By the names that the command knows them by."""
