"""Conversions that are killed with SIGKILL: at ten random moments, and on both sides of every rename."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from weights_convert import convert, inspect
from weights_convert.tests import checkpoints

Moment = tuple[str, int]
"""What happens, and how many times it has happened before."""
SHARDS = {"hf": "300KB", "hf-flax": "300KB", "openai": None, "open_clip": None, "hf-tf": None, "keras-hub": None}
"""The formats that are tried, with the size of their shards: openai is a file, the others are directories."""
MOMENTS = 10


@pytest.fixture(scope="module")
def context() -> Any:
    """Gives processes that are forked from one which has imported the converter and started nothing."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload([__name__])
    return found


@pytest.mark.parametrize("to", SHARDS)
def test_a_killed_conversion_leaves_the_old_checkpoint_the_new_one_or_none(context, source, tmp_path, to):
    older, whole = tmp_path / "older", _place(tmp_path / "whole", to, None)
    convert(source, older, to=to, dtype="bfloat16")
    calls = _count_calls(context, source, whole, to)
    old, new = _content(older), _content(whole)
    for nth, moment in enumerate(random.Random(to).sample(range(calls), MOMENTS)):
        overwritten = nth % 2 == 1
        path = _place(tmp_path / str(moment), to, older if overwritten else None)
        _kill(context, source, path, to, ("call", moment))
        assert _content(path) in ([old, None, new] if overwritten else [None, new]), moment
    convert(source, path, to=to, overwrite=True)  # what a killed run left does not stand in the way
    assert _content(path) == new
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]  # nor does it stay


@pytest.mark.parametrize("to", ["openai", "hf"])
def test_a_conversion_killed_beside_a_rename_leaves_the_old_checkpoint_the_new_one_or_none(
    context, source, tmp_path, to
):
    older, whole = tmp_path / "older", _place(tmp_path / "whole", to, None)
    convert(source, older, to=to, dtype="bfloat16")
    convert(source, whole, to=to, max_shard_size=SHARDS[to])
    old, new = _content(older), _content(whole)
    # a file is renamed over the old one; a directory cannot be, so the old one is moved aside first
    expected = {"openai": [old, new], "hf": [old, None, None, new]}[to]
    for nth, content in enumerate(expected):
        path = _place(tmp_path / str(nth), to, older)
        _kill(context, source, path, to, ("return from rename" if nth % 2 else "rename", nth // 2))
        assert _content(path) == content, nth


def _place(directory: Path, to: str, older: Path | None) -> Path:
    """A place of its own to write to, where an older checkpoint lies if one is given."""
    directory.mkdir()
    path = checkpoints.destination(directory, to)
    if older:
        (shutil.copytree if older.is_dir() else shutil.copy)(older, path)
    return path


def _content(path: Path) -> dict[str, Any] | None:
    """All that there is to know of the checkpoint at a path; ``None`` if nothing is there."""
    return {**inspect(path).to_dict(), "path": ""} if path.exists() else None


def _count_calls(context: Any, source: Path, path: Path, to: str) -> int:
    """Converts, and gives how many functions written in C are called for it."""
    receiver, sender = context.Pipe(duplex=False)
    _run(context, (source, path, to, None, sender), 0)
    return receiver.recv()


def _kill(context: Any, source: Path, path: Path, to: str, moment: Moment) -> None:
    _run(context, (source, path, to, moment, None), -signal.SIGKILL)


def _run(context: Any, arguments: tuple[Any, ...], exit_code: int) -> None:
    process = context.Process(target=_convert, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == exit_code


def _convert(source: Path, path: Path, to: str, moment: Moment | None, result: Connection | None) -> None:
    """Runs in a process of its own: converts, and dies at the moment if there is one, at the latest at the end."""
    seen = dict.fromkeys(("call", "rename", "return from rename"), 0)

    def pass_by(event: str) -> None:
        if moment == (event, seen[event]):
            os.kill(os.getpid(), signal.SIGKILL)
        seen[event] += 1

    def watch(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            pass_by("call")
        if function is os.replace:
            pass_by("rename" if event == "c_call" else "return from rename")

    sys.setprofile(watch)
    convert(source, path, to=to, max_shard_size=SHARDS[to], overwrite=True)
    sys.setprofile(None)
    if moment:  # waiting for a process takes more calls in one run than in another
        os.kill(os.getpid(), signal.SIGKILL)
    if result:
        result.send(seen["call"])
