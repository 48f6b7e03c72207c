"""Is `CLIPTokenizer.from_open_clip` open_clip's tokenizer, id for id?

    PYTHONPATH=. ENV/bin/python -m conformance_tests.parity.compare_open_clip_texts [--count 20000] [--write]

``ENV`` has open_clip_torch. Runs both on the texts of the tests, with special strings in them, and on random ones, in
every way to clean and for several context lengths. Ends with exit code 1 if an id differs. ``--write`` also makes the
goldens of the tests anew.
"""

from __future__ import annotations

import json
import random
import re
import sys
from importlib import import_module, metadata
from itertools import cycle
from pathlib import Path
from typing import Any

import click

import clip_core.tests.tokenizer
from clip_core.checkpoint.files import write_text_atomically
from clip_core.commands import echo
from clip_core.tokenizer.clip import CLIPTokenizer
from clip_core.tokenizer.text import CLEANING
from conformance_tests.parity.tokenizer_sources import case_strings, random_strings

LENGTHS = (77, 16, 32, 248, 2)
PATH = Path(clip_core.tests.tokenizer.__path__[0]) / "open_clip_cases.json"
SPECIAL = [
    *("<start_of_text>", "<end_of_text>", "a<end_of_text>b", "<END_OF_TEXT> x", "&lt;start_of_text&gt;"),
    *("<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>!", "<end_of_text", "< end_of_text >"),
]
TEXTS = [
    *SPECIAL,
    *("", "!", "A Photo of 2 CATS!", "it’s “fine”, isn't it?", "snake_case_NAME", "AT&amp;T", "ΟΔΟΣ ﬁle", "İstanbul"),
    *("  many\t\nspaces\u00a0here\u2003", "#hash @tag $5.00", "don&#39;t", "schÃ¶n", "naïve ÉCOLE", "日本語 テスト"),
]


def with_special(strings: list[str]) -> list[str]:
    """The strings, every seventh with a special string somewhere in it."""
    drawn = random.Random(3)
    specials = cycle(SPECIAL)
    return [
        text if number % 7 else f"{text[: drawn.randint(0, len(text))]}{next(specials)}{text[len(text) // 2 :]}"
        for number, text in enumerate(strings)
    ]


def goldens(tokenizer_class: Any) -> dict[str, Any]:
    """What open_clip makes of some texts, and of some rows."""
    tokenizers = {clean: tokenizer_class(clean=clean) for clean in CLEANING}
    rows = []
    for length, clean in zip((77, 16, 248), CLEANING, strict=True):
        texts = ["", "A_b: c!", "very " * (length + 3)]
        ids = tokenizers[clean](texts, context_length=length).tolist()
        rows.append({"context_length": length, "clean": clean, "texts": texts, "input_ids": ids})
    texts = {text: {clean: each.encode(text) for clean, each in tokenizers.items()} for text in TEXTS}
    return {"made_with": f"open_clip_torch {metadata.version('open_clip_torch')}", "texts": texts, "rows": rows}


def _joined(match: re.Match[str]) -> str:
    """Numbers of a list on one line."""
    return ", " if match[0].startswith(",") else ""


@click.command()
@click.option("--count", default=20_000, show_default=True, help="Random texts beside those of the tests.")
@click.option("--write", is_flag=True, help="Write the goldens of the tests.")
def main(count: int, write: bool) -> None:
    """Compare, and print counts and the first texts that differ."""
    theirs_class = import_module("open_clip.tokenizer").SimpleTokenizer
    if write:
        text = json.dumps(goldens(theirs_class), ensure_ascii=False, indent=1)
        write_text_atomically(
            PATH, re.sub(r"(?<=\d),\s+(?=\d)|(?<=\[)\s+(?=\d)|(?<=\d)\s+(?=\])", _joined, text) + "\n"
        )
    strings = [*TEXTS, *with_special([*case_strings(), *random_strings(count, random.Random(17))])]
    differing = 0
    for clean in CLEANING:
        theirs = theirs_class(clean=clean)
        for length in LENGTHS:
            ours = CLIPTokenizer.from_open_clip(length, clean)
            expected = theirs(strings, context_length=length).tolist()
            found = ours(strings, padding="max_length", truncation=True)["input_ids"]
            wrong = [text for text, a, b in zip(strings, expected, found, strict=True) if a != b]
            echo(f"clean={clean} context_length={length}: {len(strings)} texts, {len(wrong)} differ {wrong[:3] or ''}")
            differing += len(wrong)
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
