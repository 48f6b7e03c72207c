"""A zero-shot head of ImageNet's classes and OpenAI's 80 templates, beside open_clip's builder: how equal, how fast.

Run with ``python -m benchmarks.zero_shot --python ENV/bin/python [--labels 1000] [--keep FOLDER] [SIDE ...]``, where
the environment has open_clip. A model of ViT-B/32's sizes with random weights, the same in every side: open_clip, and
the encoder of each backend. A side is a process of its own; the sides take turns at parts of the labels, and a ratio is
the median over the parts. Seconds are those of the head alone, with what is compiled for it; loading is not in them.
CPU seconds stand beside those of the clock, for a computer with other work. All labels take hours: what is done is
kept in the folder, and a run that was ended goes on there. The exit code is 1 if a head differs from open_clip's by
more than 1e-5.
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
SERVE = """
for line in sys.stdin:
    start, stop = map(int, line.split())
    clock, cpu = time.perf_counter(), time.process_time()
    head = build(labels[start:stop])
    seconds = [time.perf_counter() - clock, time.process_time() - cpu]
    result = f"{directory}/{side}-{start}-{stop}"
    numpy.savez(result + ".part.npz", seconds=seconds, head=head)
    os.replace(result + ".part.npz", result + ".npz")
    print("done", flush=True)
"""
OPEN_CLIP = """
import os, sys, time
import numpy, open_clip
from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES as labels, OPENAI_IMAGENET_TEMPLATES
directory, side = sys.argv[1:]
name = f"local-dir:{directory}/open_clip"
model, tokenizer = open_clip.create_model(name).eval(), open_clip.get_tokenizer(name)
def build(labels):
    return open_clip.build_zero_shot_classifier(model, tokenizer, labels, OPENAI_IMAGENET_TEMPLATES).T.numpy()
"""
TRICLIP = """
import os, sys, time
import numpy, triclip
directory, side = sys.argv[1:]
labels, encoder = triclip.IMAGENET_LABELS, triclip.load(f"{directory}/hf", side, device="cpu")
def build(labels):
    return triclip.build_zero_shot_classifier(encoder, None, labels, triclip.OPENAI_IMAGENET_TEMPLATES)
"""


def save_checkpoints(folder: Path) -> None:
    """The same random weights for Triclip and for open_clip, with tokenizer and preprocessor."""
    from clip_core import CLIPConfig, CLIPProcessor
    from clip_core.checkpoint.saving import save_checkpoint
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


class Side:
    """A process that computes parts of a head, started when the first part is wanted."""

    def __init__(self, name: str, python: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        executable, program = (python, OPEN_CLIP) if name == "open_clip" else (sys.executable, TRICLIP)
        self.command = [executable, "-W", "ignore", "-c", program + SERVE, str(folder), name]
        self.process: subprocess.Popen[str] | None = None

    def part(self, start: int, stop: int) -> tuple[list[float], np.ndarray]:
        """Seconds by the clock and of the CPU, and the rows ``[label, embed]``: computed, or those that were kept."""
        result = self.folder / f"{self.name}-{start}-{stop}.npz"
        if not result.exists():
            if self.process is None:
                self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            print(start, stop, file=self.process.stdin, flush=True)
            while (line := self.process.stdout.readline()) != "done\n":
                if not line:
                    raise SystemExit(f"{self.name} ended with exit code {self.process.wait()}.")
        with np.load(result) as found:
            return found["seconds"].tolist(), found["head"]


@click.command()
@click.argument("names", metavar="[SIDE]...", nargs=-1, type=click.Choice(["open_clip", "torch", "tf", "flax"]))
@click.option("--python", required=True, help="Of the environment with open_clip.")
@click.option("--labels", default=100, show_default=True, help="The first so many of ImageNet's.")
@click.option("--part", default=25, show_default=True, help="Labels that a side does in its turn.")
@click.option("--keep", type=click.Path(path_type=Path), help="Where parts are kept, for a run that is to go on.")
@click.option("--cores", default=len(os.sched_getaffinity(0)), show_default=True, help="How many of the computer's.")
def main(names: Sequence[str], python: str, labels: int, part: int, keep: Path | None, cores: int) -> None:
    """Builds the head in parts, the sides in turns, and prints seconds, ratios and differences."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    os.environ["OMP_NUM_THREADS"] = str(cores)
    names = names or ("open_clip", "torch", "tf", "flax")
    with tempfile.TemporaryDirectory() as temporary:
        folder = keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "written").exists():
            save_checkpoints(folder)
            (folder / "written").touch()
        sides = [Side(name, python, folder) for name in names]
        heads, seconds = {name: [] for name in names}, {name: [] for name in names}
        for start in range(0, labels, part):
            for side in sides:
                taken, rows = side.part(start, min(start + part, labels))
                heads[side.name].append(rows)
                seconds[side.name].append(taken)
                click.echo(f"from {start}: {side.name:<10} {taken[0]:8.1f} s, CPU {taken[1]:8.1f} s", err=True)
    head = {name: np.concatenate(heads[name]) for name in names}
    reference = head[names[0]]
    spread = float(np.linalg.norm(reference - reference.mean(axis=0), axis=1).mean())
    click.echo(f"{labels} labels, 80 templates, {cores} cores; mean distance of labels from their mean {spread:.3f}")
    worst = 0.0
    for name in names:
        clock, cpu = np.sum(seconds[name], axis=0)
        ratios = [
            statistics.median(a[kind] / b[kind] for a, b in zip(seconds[name], seconds[names[0]], strict=True))
            for kind in (0, 1)
        ]
        difference = float(abs(head[name] - reference).max())
        worst = max(worst, difference)
        click.echo(
            f"{name:<10} {clock:8.1f} s, CPU {cpu:8.1f} s; {ratios[0]:6.3f} and {ratios[1]:6.3f} times {names[0]}; "
            f"largest difference {difference:.1e}"
        )
    sys.exit(worst > LARGEST_DIFFERENCE)


if __name__ == "__main__":
    main()
