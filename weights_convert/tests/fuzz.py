"""Mutated files through the readers: nothing but an error of Triclip may come out, soon, in bounded memory.

    python -m weights_convert.tests.fuzz --count 20000 [--seed 0]

Every format is mutated in turn: bits flipped, bytes set, pieces removed, repeated, overwritten by others, the end cut;
mostly where structure is, in the head and in the tail. A file that is still readable is read to its last tensor.
"""

from __future__ import annotations

import faulthandler
import random
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from clip_core.errors import CLIPError
from weights_convert import convert, open_source
from weights_convert.tests import checkpoints

MEMORY_BYTES = 1_000_000_000
SECONDS = 120
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)


def seeds(directory: Path) -> dict[str, bytes]:
    """The file of weights of every format."""
    source = checkpoints.save(directory / "source")
    found = {}
    for name in checkpoints.FORMATS:
        path = checkpoints.destination(directory, name)
        convert(source, path, to=name, verify="none")
        file = path if path.is_file() else max(path.iterdir(), key=lambda entry: entry.stat().st_size)
        found[file.name if name in ("hf", "openai") else f"{name}{file.suffix}"] = file.read_bytes()
    return found


def mutate(content: bytes, draw: random.Random) -> bytes:
    """A few changes, three of four in the first or last 20 kB, where files keep their structure."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        if not changed:
            break
        near = min(len(changed), 20_000)
        places = (draw.randrange(near), draw.randrange(len(changed)), len(changed) - 1 - draw.randrange(near))
        position = draw.choice(places)
        length = draw.choice((1, 1, 2, 4, 8, 64))
        kind = draw.randrange(6)
        if kind == 0:
            changed[position] ^= 1 << draw.randrange(8)
        elif kind == 1:
            changed[position : position + length] = bytes([draw.choice(_INTERESTING)]) * length
        elif kind == 2:
            del changed[position : position + length]
        elif kind == 3:
            changed[position:position] = changed[position : position + length]
        elif kind == 4:
            other = draw.randrange(len(changed))
            changed[position : position + length] = changed[other : other + length]
        elif draw.random() < 0.2:
            del changed[position:]
        else:
            changed[position : position + length] = draw.randbytes(length)
    return bytes(changed)


def outcome(path: Path) -> str:
    """What the readers make of a file: ``read``, or the name of the error."""
    try:
        for tensor in open_source(path, checkpoints.CONFIG).model.weights.values():
            tensor.read().sum()
    except CLIPError as error:
        return type(error).__name__
    return "read"


def run(count: int, seed: int, directory: Path) -> Iterator[tuple[str, str, float]]:
    """Name of the format, outcome and seconds of each of ``count`` mutated files."""
    originals = list(seeds(directory).items())
    for number in range(count):
        name, content = originals[number % len(originals)]
        draw = random.Random(f"{seed}-{number}")
        path = directory / f"mutated_{name}"
        path.write_bytes(mutate(content, draw))
        started = time.monotonic()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        found = outcome(path)
        faulthandler.cancel_dump_traceback_later()
        yield name, found, time.monotonic() - started


@click.command()
@click.option("--count", default=20_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(count: int, seed: int) -> None:
    """Fuzzes the readers; a crash, a hang or too much memory ends the process with an error."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    outcomes: Counter[tuple[str, str]] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as directory:
        for name, found, seconds in run(count, seed, Path(directory)):
            outcomes[name, found] += 1
            slowest = max(slowest, seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    for (name, found), times in sorted(outcomes.items()):
        click.echo(f"{name:<24}{found:<28}{times:>7}")
    click.echo(f"{count} files, slowest {slowest:.2f} s, peak memory {peak / 1e6:.0f} MB, no crash")
    if peak > MEMORY_BYTES:
        raise SystemExit(f"more than {MEMORY_BYTES / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
