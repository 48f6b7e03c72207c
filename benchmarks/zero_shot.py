"""A zero-shot head of ImageNet's classes and OpenAI's 80 templates, beside open_clip's builder: how equal, how fast.

Run with ``python -m benchmarks.zero_shot --python ENV/bin/python [--labels 100] [--rounds 3] [SIDE ...]``, where the
environment has open_clip. A model of ViT-B/32's sizes with random weights, the same in every side: open_clip, and the
encoder of each backend. A side is a process of its own, the sides take turns, and a ratio is the median over the
rounds. Seconds are those of the head alone, with what is compiled for it; loading is not in them. CPU seconds stand
beside those of the clock, for a computer with other work. The exit code is 1 if a head differs from open_clip's by more
than 1e-5.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

LARGEST_DIFFERENCE = 1e-5
OPEN_CLIP = """
import sys, time
import numpy as np, open_clip
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES
directory, count, result = sys.argv[1:]
name = "local-dir:" + directory
model, tokenizer = open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)
start, cpu = time.perf_counter(), time.process_time()
labels = IMAGENET_CLASSNAMES[: int(count)]
head = open_clip.build_zero_shot_classifier(model, tokenizer, labels, OPENAI_IMAGENET_TEMPLATES)
np.savez(result, seconds=[time.perf_counter() - start, time.process_time() - cpu], head=head.T.numpy())
"""
TRICLIP = """
import sys, time
import numpy as np, triclip
directory, count, result, backend = sys.argv[1:]
encoder = triclip.load(directory, backend, device="cpu")
start, cpu = time.perf_counter(), time.process_time()
labels = triclip.IMAGENET_LABELS[: int(count)]
head = triclip.build_zero_shot_classifier(encoder, None, labels, triclip.OPENAI_IMAGENET_TEMPLATES)
np.savez(result, seconds=[time.perf_counter() - start, time.process_time() - cpu], head=head)
"""


def save_checkpoints(folder: Path) -> None:
    """The same random weights for Triclip and for open_clip, with tokenizer and preprocessor."""
    from clip_core import CLIPConfig, CLIPProcessor
    from clip_core.checkpoint.directory import save_checkpoint
    from clip_core.image.processor import CLIPImageProcessor
    from clip_core.initialization import draw_weights
    from clip_core.tokenizer.clip import CLIPTokenizer
    from weights_convert import convert

    config = CLIPConfig()
    weights = dict(draw_weights(config, seed=0))
    weights["text_model.embeddings.token_embedding.weight"] *= 10  # or all texts would have nearly one vector
    save_checkpoint(folder / "hf", config, weights, architecture="CLIPModel")
    CLIPProcessor(CLIPImageProcessor(), CLIPTokenizer()).save_pretrained(folder / "hf")
    convert(folder / "hf", folder / "open_clip", to="open_clip")


def run_side(side: str, python: str, folder: Path, labels: int) -> tuple[list[float], np.ndarray]:
    """Seconds by the clock and of the CPU, and the head ``[label, embed]``."""
    result = folder / "result.npz"
    if side == "open_clip":
        words = [python, "-W", "ignore", "-c", OPEN_CLIP, str(folder / "open_clip"), str(labels), str(result)]
    else:
        words = [sys.executable, "-W", "ignore", "-c", TRICLIP, str(folder / "hf"), str(labels), str(result), side]
    subprocess.run(words, check=True)
    with np.load(result) as found:
        return found["seconds"].tolist(), found["head"]


@click.command()
@click.argument("sides", nargs=-1, type=click.Choice(["open_clip", "torch", "tf", "flax"]))
@click.option("--python", required=True, help="Of the environment with open_clip.")
@click.option("--labels", default=100, show_default=True, help="The first so many of ImageNet's.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--cores", default=len(os.sched_getaffinity(0)), show_default=True, help="How many of the computer's.")
def main(sides: Sequence[str], python: str, labels: int, rounds: int, cores: int) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    sides = sides or ("open_clip", "torch", "tf", "flax")
    heads, seconds = {}, {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as name:
        save_checkpoints(Path(name))
        for turn in range(rounds):
            for side in sides:
                taken, heads[side] = run_side(side, python, Path(name), labels)
                seconds[side].append(taken)
                click.echo(f"round {turn + 1}: {side:<10} {taken[0]:8.1f} s, CPU {taken[1]:8.1f} s", err=True)
    reference = heads[sides[0]]
    spread = float(np.linalg.norm(reference - reference.mean(axis=0), axis=1).mean())
    click.echo(f"{labels} labels, 80 templates, {cores} cores; mean distance of labels from their mean {spread:.3f}")
    worst = 0.0
    for side in sides:
        clock, cpu = (statistics.median(turn[kind] for turn in seconds[side]) for kind in (0, 1))
        ratios = [
            statistics.median(a[kind] / b[kind] for a, b in zip(seconds[side], seconds[sides[0]], strict=True))
            for kind in (0, 1)
        ]
        difference = float(abs(heads[side] - reference).max())
        worst = max(worst, difference)
        click.echo(
            f"{side:<10} {clock:8.1f} s, CPU {cpu:8.1f} s; {ratios[0]:6.3f} and {ratios[1]:6.3f} times {sides[0]}; "
            f"largest difference {difference:.1e}"
        )
    sys.exit(worst > LARGEST_DIFFERENCE)


if __name__ == "__main__":
    main()
