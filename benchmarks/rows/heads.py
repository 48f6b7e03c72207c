"""Zero-shot heads: ImageNet's labels in OpenAI's 80 templates, 80 prompts a label, to a vector for each label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.row import Case, Row, Side

LABELS = 2
"""The first so many: all 1,000 take open_clip hours."""


def open_clip(folder: Path, case: Case) -> Any:
    import open_clip as library
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    name = f"local-dir:{folder.absolute() / 'open_clip'}"
    model, tokenizer = library.create_model(name).eval(), library.get_tokenizer(name)
    labels, templates = IMAGENET_CLASSNAMES[:LABELS], OPENAI_IMAGENET_TEMPLATES
    return lambda: library.build_zero_shot_classifier(model, tokenizer, labels, templates).T.numpy()


def triclip(folder: Path, case: Case) -> Any:
    import triclip as library

    encoder = library.load(folder / "hf", case["backend"], device="cpu")
    labels, templates = library.IMAGENET_LABELS[:LABELS], library.OPENAI_IMAGENET_TEMPLATES
    return lambda: library.build_zero_shot_classifier(encoder, None, labels, templates)


ROW = Row(
    name="heads",
    title=f"Zero-shot head, {80 * LABELS} prompts",
    cases=[{}],
    sides={
        "open_clip": Side(function="open_clip"),
        **{
            f"triclip {backend}": Side(function="triclip", options={"backend": backend})
            for backend in ("torch", "tf", "flax", "onnx")
        },
    },
    materials=("hf", "open_clip"),
    within=1e-3,
    warm_ups=1,
    cores=(1, 2),
)
