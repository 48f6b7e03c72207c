"""Classifies the sample pictures with the embedded checkpoint in every backend, compares and draws the answers.

Run with ``python -m triclip.demo``. Each backend is a process of its own that runs ``triclip classify --json``. The
exit code is 1 if a backend is missing or fails, if the picture of the answers cannot be written, or if the backends do
not agree.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import click

from clip_core.backends import FRAMEWORKS
from clip_core.checkpoint.locating import EMBEDDED_NAME
from clip_core.commands import echo
from triclip.demo_sheet import Scores, draw_sheet, write_sheet

SAMPLES = Path(__file__).parent / "samples"
LARGEST_DIFFERENCE = 1e-3
"""Of logits, between backends; float32 rounding makes about 1e-4 of it at a logit scale of 100."""


class Answer(NamedTuple):
    """What one backend says: logits and probabilities by picture and label, and the seconds that it took."""

    logits: Scores
    probabilities: Scores
    seconds: float


def expected_labels(samples: Path) -> dict[str, str]:
    """File name of each sample picture, and what it shows."""
    labels: dict[str, str] = json.loads((samples / "labels.json").read_text(encoding="utf-8"))
    return labels


def ask(backend: str, model: str, samples: Path) -> Answer:
    """Classifies the samples with one backend, among the labels of all of them.

    Raises:
        ClickException: the process failed; the message is what it said.
    """
    expected = expected_labels(samples)
    labels = sorted(set(expected.values()))
    words = [sys.executable, "-m", "triclip", "classify", *(str(samples / picture) for picture in expected)]
    words += [part for label in labels for part in ("--label", label)]
    words += ["--model", model, "--backend", backend, "--top", str(len(labels)), "--json"]
    start = time.perf_counter()
    process = subprocess.run(words, capture_output=True, text=True, encoding="utf-8")
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise click.ClickException(f"the backend {backend} failed: {process.stderr.strip()}")
    rows = {Path(line["path"]).name: line["labels"] for line in map(json.loads, process.stdout.splitlines())}
    logits, probabilities = (
        {picture: {row["label"]: row[field] for row in best} for picture, best in rows.items()}
        for field in ("logit", "probability")
    )
    return Answer(logits, probabilities, seconds)


def picture_table(picture: str, expected: str, answers: Mapping[str, Answer], top: int) -> str:
    """The ``top`` labels of a picture, best first by the first backend; probabilities in one column per backend."""
    by_backend = [answer.probabilities[picture] for answer in answers.values()]
    best = sorted(by_backend[0], key=by_backend[0].__getitem__, reverse=True)[:top]
    width = max(len(picture), *(len(label) + 2 for label in by_backend[0]))
    lines = [f"{picture:<{width}}" + "".join(f"{backend:>10}" for backend in answers)]
    for rank, label in enumerate(best):
        mark = ("   as expected" if label == expected else f"   expected: {expected}") if rank == 0 else ""
        lines.append(f"  {label:<{width - 2}}" + "".join(f"{scores[label]:>10.2%}" for scores in by_backend) + mark)
    return "\n".join(lines)


def best_labels(answer: Answer) -> dict[str, str]:
    """The most probable label of each picture."""
    return {picture: max(scores, key=scores.__getitem__) for picture, scores in answer.logits.items()}


def largest_difference(answers: Sequence[Answer]) -> float:
    """The largest difference between any two backends' logits of the same picture and label."""
    spreads = [
        max(values) - min(values)
        for picture, scores in answers[0].logits.items()
        for label in scores
        for values in [[answer.logits[picture][label] for answer in answers]]
    ]
    return max(spreads)


def draw(picture: Path, samples: Path, answers: Mapping[str, Answer], top: int) -> None:
    """Draws the answers in the file ``picture``.

    Raises:
        ClickException: the file cannot be written.
    """
    probabilities = {backend: answer.probabilities for backend, answer in answers.items()}
    sheet = draw_sheet(samples, expected_labels(samples), probabilities, top)
    try:
        write_sheet(sheet, picture)
    except OSError as error:
        raise click.ClickException(
            f"expected to write the picture {picture}, got {error}. Name another file with --picture."
        ) from error


@click.command()
@click.option("--backend", "backends", type=click.Choice(FRAMEWORKS), multiple=True, help="Only this one; repeatable.")
@click.option("--model", default=EMBEDDED_NAME, show_default=True, help="The checkpoint.")
@click.option("--samples", type=click.Path(exists=True, path_type=Path), default=SAMPLES, help="Pictures, labels.json.")
@click.option("--top", type=click.IntRange(min=1), default=3, show_default=True, help="How many labels to show.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    default="demo.png",
    show_default=True,
    help="The PNG file to draw the answers in.",
)
def main(backends: tuple[str, ...], model: str, samples: Path, top: int, picture: Path) -> None:
    """Classify the sample pictures in every backend, compare and draw the answers."""
    names = backends or FRAMEWORKS
    expected = expected_labels(samples)
    with ThreadPoolExecutor() as pool:
        answers = dict(zip(names, pool.map(lambda name: ask(name, model, samples), names), strict=True))
    for sample, label in expected.items():
        echo(picture_table(sample, label, answers, top) + "\n")
    first = best_labels(answers[names[0]])
    right = sum(first[sample] == label for sample, label in expected.items())
    difference = largest_difference(list(answers.values()))
    same = all(best_labels(answer) == first for answer in answers.values())
    echo(f"{right} of {len(expected)} pictures: the first label of {model} is the expected one.")
    echo(f"Seconds: {', '.join(f'{name} {answer.seconds:.1f}' for name, answer in answers.items())} (side by side).")
    echo(
        f"Largest logit difference between {', '.join(answers)}: {difference:.1e} (allowed {LARGEST_DIFFERENCE:.0e}); "
        f"the first labels {'agree' if same else 'differ'}."
    )
    draw(picture, samples, answers, top)
    echo(f"Picture: {picture}")
    if difference > LARGEST_DIFFERENCE or not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
