"""Directories of strangers through the readers and the converter: beside the weights lies what should not be there.

    python -m weights_convert.tests.fuzz_directories --count 5000 [--seed 0]

A checkpoint gets a few defects: damaged companions, journals, links that lead out, pipes, sockets, directories, loops
and huge files in the place of others, names that steer a terminal. Then it is inspected, loaded or converted, sometimes
to a disk that is full. Nothing but an error of Triclip may come out; the directory that is read is the same before and
after; nothing of the secret files outside of it arrives anywhere; a conversion that fails leaves nothing behind.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from clip_core.checkpoint.directory import load_checkpoint
from clip_core.commands import echo, printable
from clip_core.config import CLIPConfig
from clip_core.errors import CLIPError
from clip_core.processor import CLIPProcessor
from weights_convert import convert, inspect
from weights_convert.tests import checkpoints
from weights_convert.tests.fuzz import mutate, mutate_json

SECONDS = 60
SECRET = "the words of somebody else"
_COMPANIONS = {
    "vocab.json": json.dumps({"a</w>": 0, "b</w>": 1, "a": 2, "ab</w>": 3}),
    "merges.txt": "#version: 0.2\na b</w>\n",
    "tokenizer_config.json": json.dumps({"model_max_length": 11, "padding_side": "right", "pad_token": "a</w>"}),
    "special_tokens_map.json": json.dumps({"bos_token": {"content": "<s>", "lstrip": False}}),
    "added_tokens.json": json.dumps({"<extra>": 7}),
    "tokenizer.json": json.dumps({"model": {"vocab": {"a</w>": 0}, "merges": []}, "added_tokens": []}),
    "preprocessor_config.json": json.dumps({"size": 28, "crop_size": {"height": 28, "width": 28}, "resample": 3}),
    "processor_config.json": json.dumps({"image_processor": {"size": 28, "crop_size": 28}}),
}
_NAMES = ("config.json", "model.safetensors", *_COMPANIONS)
_JOURNALED = (
    *_NAMES,
    "notes.txt",
    "../secret",
    "",
    ".",
    "a" * 250,
    ".config.json.01234567.tmp",
    "model-00001-of-00002",
)
_EVIL = ("\x1b[2J", "\u202e", "\x9b", "\r", "\udcff", "\u2066", "'", "%s{}", " ")


def _damage(directory: Path, draw: random.Random) -> None:
    path = directory / draw.choice([*_COMPANIONS, "config.json"])
    if path.is_file() and not path.is_symlink():
        change = mutate_json if path.suffix == ".json" and draw.random() < 0.6 else mutate
        path.write_bytes(change(_original(path.name), draw))


def _original(name: str) -> bytes:
    return _COMPANIONS.get(name, json.dumps(checkpoints.CONFIG.to_dict())).encode()


def _add_journal(directory: Path, draw: random.Random) -> None:
    targets = draw.sample(_JOURNALED, draw.randrange(4))
    renames = {
        draw.choice([f".{target}.{draw.randrange(16**8):08x}.tmp", *_JOURNALED[:4], "notes.txt"]): target
        for target in targets
    }
    digests = {target: hashlib.sha256(draw.randbytes(1)).hexdigest() for target in targets}
    for temporary in renames:
        if draw.random() < 0.5 and _is_free(directory, temporary):
            (directory / temporary).write_text("of the stranger")
    plan = {"journal": "triclip-save-1", "renames": renames, "sha256": digests,
            "removals": draw.sample(_JOURNALED, draw.randrange(3))}  # fmt: skip
    content = json.dumps(plan).encode()
    (directory / ".save_journal.json").write_bytes(mutate_json(content, draw) if draw.random() < 0.4 else content)


def _is_free(directory: Path, name: str) -> bool:
    return Path(name).name == name and len(name) < 256 and not os.path.lexists(directory / name)


def _replace(make: Callable[[Path, random.Random], None]) -> Callable[[Path, random.Random], None]:
    """A defect that puts something else in the place of a file."""

    def defect(directory: Path, draw: random.Random) -> None:
        path = directory / draw.choice(_NAMES)
        if path.is_dir() and not path.is_symlink():
            return
        path.unlink(missing_ok=True)
        make(path, draw)

    return defect


def _link_out(path: Path, draw: random.Random) -> None:
    path.symlink_to(draw.choice(["../secret", "../secret.json", f"../{path.parent.name}/../secret.json", ".."]))


def _bind(path: Path, draw: random.Random) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def _make_huge(path: Path, draw: random.Random) -> None:
    with open(path, "wb") as file:
        file.truncate(10 ** draw.randrange(8, 13))


def _add_names(directory: Path, draw: random.Random) -> None:
    name = "".join(draw.choices(_EVIL, k=3))
    (directory / f"{name}.pt").write_text("x")
    checkpoints.rewrite(
        directory / "model.safetensors",
        lambda stored: {**stored, "\x1b[2J\u202e" + name[:1].strip("\udcff"): stored["logit_scale"]},
    )


DEFECTS: dict[str, Callable[[Path, random.Random], None]] = {
    "damaged": _damage,
    "journal": _add_journal,
    "link out": _replace(_link_out),
    "loop": _replace(lambda path, draw: path.symlink_to(path.name)),
    "pipe": _replace(lambda path, draw: os.mkfifo(path)),
    "socket": _replace(_bind),
    "directory": _replace(lambda path, draw: path.mkdir()),
    "huge": _replace(_make_huge),
    "gone": _replace(lambda path, draw: None),
}


def state(directory: Path) -> dict[str, tuple[object, ...]]:
    """All of a directory that a reader could change: names, kinds, modes, times, contents, targets of links."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [directory, *directory.rglob("*")]:
        status = path.lstat()
        small = stat.S_ISREG(status.st_mode) and status.st_size < 10_000_000
        content = path.read_bytes() if small else os.readlink(path) if path.is_symlink() else None
        found[str(path)] = (status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, content)
    return found


@contextmanager
def _full_disk(bytes_: int | None) -> Iterator[None]:
    """Inside, no file can become larger than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if bytes_ is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def outcome(directory: Path, outside: Path, draw: random.Random) -> str:
    """What came of a reader or of a conversion: ``done``, or the name of the error."""
    use = draw.choice(["inspect", "load", "processor", "convert", "convert", "full disk"])
    out = outside / "out"
    try:
        if use == "inspect":
            inspect(directory)
        elif use == "load":
            sum(value.sum() for value in load_checkpoint(directory, CLIPConfig).weights.values())
        elif use == "processor":
            CLIPProcessor.from_directory(directory)(text=["a", "ab b"])
        else:
            limit = draw.randrange(6_000_000) if use == "full disk" else None
            to = draw.choice(["hf", "open_clip", "nnx", "keras-hub", "openai"])
            with _full_disk(limit):
                convert(directory, out, to=to, verify="none")
    except CLIPError as error:
        if SECRET in str(error) and use != "processor":  # which follows links, for who may read what they lead to
            raise SystemExit(f"a secret arrived in a message: {error}") from error
        printable(str(error)).encode()
        if sorted(entry.name for entry in outside.iterdir()) != []:
            raise SystemExit(f"{use}: was left behind: {list(outside.iterdir())}") from error
        return f"{use}: {type(error).__name__}"
    for file in outside.rglob("*"):
        if file.is_file() and SECRET.encode() in file.read_bytes():
            raise SystemExit(f"a secret arrived in {file}")
    return f"{use}: done"


def run(count: int, number: int, place: Path) -> Iterator[tuple[str, str, float]]:
    """Kinds of defects, outcome and seconds of each of ``count`` directories."""
    source = checkpoints.save(place / "source")
    for name, content in _COMPANIONS.items():
        (source / name).write_text(content)
    (place / "secret").write_text(SECRET)
    (place / "secret.json").write_text(json.dumps({SECRET: 0}))
    for index in range(count):
        draw = random.Random(f"{number}-{index}")
        directory, outside = place / "read", place / "outside"
        for each in (directory, outside):
            shutil.rmtree(each, ignore_errors=True)
        shutil.copytree(source, directory)
        outside.mkdir()
        kinds = draw.choices(list(DEFECTS), weights=[6, 3, 2, 1, 1, 1, 1, 1, 2], k=draw.choice((1, 1, 2)))
        for kind in kinds:
            DEFECTS[kind](directory, draw)
        if draw.random() < 0.05 and (directory / "model.safetensors").is_file() and kinds == ["damaged"]:
            _add_names(directory, draw)
        before = state(directory)
        started = time.monotonic()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        found = outcome(directory, outside, draw)
        faulthandler.cancel_dump_traceback_later()
        if state(directory) != before:
            raise SystemExit(f"{kinds}, {found}: the directory is not what it was before it was read")
        yield "+".join(sorted(set(kinds))), found, time.monotonic() - started


@click.command()
@click.option("--count", default=5000, show_default=True)
@click.option("--seed", "number", default=0, show_default=True)
def main(count: int, number: int) -> None:
    """Fuzzes the readers with directories; whatever is not foreseen ends the process with an error."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    outcomes: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as place:
        for names, found, seconds in run(count, number, Path(place)):
            outcomes[found] += 1
            kinds.update(names.split("+"))
            slowest = max(slowest, seconds)
    for counted in (kinds, outcomes):
        for name, times in sorted(counted.items()):
            echo(f"{name:<48}{times:>7}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    echo(f"{count} directories, slowest {slowest:.2f} s, peak memory {peak:.0f} MB; each the same as before")


if __name__ == "__main__":
    main()
