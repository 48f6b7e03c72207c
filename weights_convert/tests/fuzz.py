"""Mutated files through the readers: nothing but an error of Triclip may come out, soon, in bounded memory.

    python -m weights_convert.tests.fuzz --count 20000 [--seed 0]

Files of every format, of torch's own, shard indexes and configurations are mutated in turn: bits flipped, numbers
changed, pieces removed, repeated, overwritten by others, the end cut; mostly where structure is, in the head and in the
tail. A file that is still readable is read to its last tensor. One of five is whole until it is opened, and is written
over or cut between two of its tensors: that has to be noticed.

An audit hook ends the run if a reader executes code, starts a process (but the one that reads HDF5), opens a connection
or writes a file; a watchdog ends it if one file takes two minutes.
"""

from __future__ import annotations

import codecs
import faulthandler
import json
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from clip_core.checkpoint.directory import load_checkpoint
from clip_core.checkpoint.weight_files import weights_file
from clip_core.config import CLIPConfig
from clip_core.errors import CheckpointError, CLIPError
from weights_convert import convert, open_source
from weights_convert.companions import preprocessor_of
from weights_convert.containers import hdf5_contents
from weights_convert.tests import checkpoints

MEMORY_BYTES = 1_000_000_000
SECONDS = 120
TICK_SECONDS = 0.02
"""More than the resolution of times of modification, by which a change is told."""
_ODD_JSON = (
    *("null", "true", "[]", "{}", "[null]", '{"a": 1}', '""', '"text"', '"HUGE"'),
    *("0", "-1", "1", "3", "0.5", "1e400", "-1e400", "NaN", "9007199254740993", "300000", "1000000000"),
)
_INTERESTING = (0, 1, 0x7F, 0x80, 0xFF)
_CODECS = (  # that Python imports when they are first used, by pickletools and json
    *("ascii", "latin_1", "raw_unicode_escape", "unicode_escape", "utf_8_sig"),
    *("utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"),
)
_FORBIDDEN = (
    *("exec", "compile", "code.__new__", "import", "pickle.find_class", "ctypes.dlopen"),
    *("os.system", "os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.startfile", "socket.connect"),
    *("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.truncate", "os.symlink", "os.link"),
)


@dataclass(frozen=True)
class Seed:
    """A file to mutate: its name in the report, the file, what is opened, and the configuration that goes with it."""

    name: str
    path: Path
    opened: Path
    config: CLIPConfig | None


class ForbiddenError(BaseException):
    """A reader did what none may do; no reader catches it."""


def seeds(directory: Path, *, torch: bool) -> list[Seed]:
    """The file of weights of every format, the small files that lead to it, and with ``torch`` what torch saves."""
    source = checkpoints.save(directory / "source")
    found = []
    for name in checkpoints.FORMATS:
        path = checkpoints.destination(directory, name)
        convert(source, path, to=name, verify="none")
        file = path if path.is_file() else max(path.iterdir(), key=lambda entry: entry.stat().st_size)
        found.append(Seed(name, file, file, checkpoints.CONFIG))
        convert(source, checkpoints.destination(directory, name, "whole_"), to=name, verify="none")
    small = {"hf": ("config.json", "preprocessor_config.json"), "open_clip": ("open_clip_config.json",),
             "keras-hub": ("config.json", "image_converter.json")}  # fmt: skip
    for name, config in ((name, file) for name, files in small.items() for file in files):
        whole = directory / f"whole_{name}"
        found.append(Seed(f"{name} {config}", whole / config, whole, None))
    for name in ("hf", "hf-flax"):
        shards = directory / f"shards_{name}"
        convert(source, shards, to=name, max_shard_size="300KB", verify="none")
        (index,) = shards.glob("*.index.json")
        found.append(Seed(f"{name} index", index, shards, None))
    if torch:
        command = [sys.executable, "-m", "weights_convert.tests.foreign_files", "torch", str(directory)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        for name in ("archive", "stream", "views", "script"):
            path = directory / f"saved_{name}.pt"
            found.append(Seed(f"torch {name}", path, path, checkpoints.CONFIG))
        shards = directory / "saved_hf_bin"
        found.append(Seed("torch shards index", shards / "pytorch_model.bin.index.json", shards, None))
        found.append(Seed("torch shard", min(shards.glob("pytorch_model-*.bin")), shards, None))
    return found


def mutate(content: bytes, draw: random.Random) -> bytes:
    """A few changes, two of three in the first or last 20 kB, where files keep their structure."""
    changed = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        if not changed:
            break
        near = min(len(changed), 20_000)
        places = (draw.randrange(near), draw.randrange(len(changed)), len(changed) - 1 - draw.randrange(near))
        position = draw.choice(places)
        length = draw.choice((1, 1, 2, 4, 8, 64))
        kind = draw.randrange(7)
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
        elif kind == 5:
            piece = bytes(changed[position : position + 200])
            changed[position : position + 200] = bytes(
                ord(draw.choice("0123456789-")) if 48 <= byte < 58 and draw.random() < 0.2 else byte for byte in piece
            )
        elif draw.random() < 0.2:
            del changed[position:]
        else:
            changed[position : position + length] = draw.randbytes(length)
    return bytes(changed)


def mutate_json(content: bytes, draw: random.Random) -> bytes:
    """JSON with values of another kind in one or two places."""
    value = json.loads(content)
    for _ in range(draw.choice((1, 1, 2))):
        holder, key = draw.choice(list(_places(value)))
        holder[key] = json.loads(draw.choice(_ODD_JSON))
    return json.dumps(value).encode().replace(b'"HUGE"', b"9" * 5000)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in list(items):
        yield value, key
        yield from _places(item)


def outcome(seed: Seed) -> str:
    """What the readers make of a file: ``read``, or the name of the error; of the models' loader too where it reads."""
    found = _ended(_convert_from, seed)
    if seed.opened.is_dir() and weights_file(seed.opened):
        loaded = _ended(_load, seed)
        return found if loaded == found else f"{found}, {loaded}"
    return found


def _ended(read: Callable[[Seed], None], seed: Seed) -> str:
    try:
        read(seed)
    except CLIPError as error:
        return type(error).__name__
    return "read"


def _convert_from(seed: Seed) -> None:
    model = open_source(seed.opened, seed.config).model
    preprocessor_of(model.files)
    for tensor in model.weights.values():
        tensor.read().sum()


def _load(seed: Seed) -> None:
    """What `from_pretrained` does before any framework."""
    for value in load_checkpoint(seed.opened, CLIPConfig).weights.values():
        value.sum()


def disturbed(seed: Seed, content: bytes, draw: random.Random) -> str:
    """The name of the error that comes out of a whole file which is written over or cut while it is read."""
    time.sleep(TICK_SECONDS)
    try:
        source = open_source(seed.opened, seed.config)
        moment = draw.randrange(len(source.model.weights))
        other = mutate(content, draw) if draw.random() < 0.5 else content[: len(content) // 2]
        for number, tensor in enumerate(source.model.weights.values()):
            if number == moment:
                _change_in_place(seed.path, other)
            tensor.read()
        source.check_unchanged()
    except CheckpointError as error:
        noticed = "changed while it was read" in str(error)  # or else what was changed made no sense
        return f"{'changed' if noticed else 'refused'}, {type(error).__name__}"
    raise SystemExit(f"{seed.name}: that it changed while it was read went unnoticed")


def _change_in_place(path: Path, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()


def run(count: int, number: int, originals: list[Seed]) -> Iterator[tuple[str, str, float]]:
    """Name, outcome and seconds of each of ``count`` mutated files."""
    contents = [seed.path.read_bytes() for seed in originals]
    for index in range(count):
        seed, content = originals[index % len(originals)], contents[index % len(originals)]
        draw = random.Random(f"{number}-{index}")
        disturbing = draw.random() < 0.2
        change = mutate_json if seed.path.suffix == ".json" and draw.random() < 0.7 else mutate
        if not disturbing:
            seed.path.write_bytes(change(content, draw))
        started = time.monotonic()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        found = disturbed(seed, content, draw) if disturbing else outcome(seed)
        faulthandler.cancel_dump_traceback_later()
        seed.path.write_bytes(content)
        yield seed.name, found, time.monotonic() - started


@contextmanager
def watched(directory: Path) -> Iterator[None]:
    """Inside, code, processes, connections and files written outside of ``directory`` are a `ForbiddenError`."""
    watching = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not watching:
            return
        if event == "subprocess.Popen":
            forbidden = hdf5_contents.__file__ not in arguments[1]
        elif event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            forbidden = writes and not str(path).startswith(str(directory))
        else:
            forbidden = event in _FORBIDDEN
        if forbidden:
            raise ForbiddenError(event, arguments)

    sys.addaudithook(hook)  # for good, there is no way to take it off
    try:
        yield
    finally:
        watching = False


def fuzz(directory: Path, originals: list[Seed], count: int, number: int) -> None:
    """Reads the mutated files and prints what came out; runs in a process whose memory and children are its own."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    for seed in originals:
        if (found := outcome(seed)) != "read":
            raise SystemExit(f"{seed.name}: {found} before any mutation")
    for codec in _CODECS:
        codecs.lookup(codec)
    outcomes: Counter[tuple[str, str]] = Counter()
    slowest = 0.0
    with watched(directory):
        for name, found, seconds in run(count, number, originals):
            outcomes[name, found] += 1
            slowest = max(slowest, seconds)
    for (name, found), times in sorted(outcomes.items()):
        click.echo(f"{name:<32}{found:<48}{times:>7}")
    peaks = [resource.getrusage(who).ru_maxrss * 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    shown = ", of its children ".join(f"{peak / 1e6:.0f} MB" for peak in peaks)
    click.echo(f"{count} files, slowest {slowest:.2f} s, peak memory {shown}; nothing was executed")
    if max(peaks) > MEMORY_BYTES:
        raise SystemExit(f"more than {MEMORY_BYTES / 1e6:.0f} MB")


@click.command()
@click.option("--count", default=20_000, show_default=True)
@click.option("--seed", "number", default=0, show_default=True)
def main(count: int, number: int) -> None:
    """Fuzzes the readers; a crash, a hang, execution or too much memory ends the process with an error."""
    with tempfile.TemporaryDirectory() as directory:
        originals = seeds(Path(directory), torch=True)
        process = multiprocessing.get_context("fork").Process(
            target=fuzz, args=(Path(directory), originals, count, number)
        )
        process.start()
        process.join()
    raise SystemExit(process.exitcode)


if __name__ == "__main__":
    main()
