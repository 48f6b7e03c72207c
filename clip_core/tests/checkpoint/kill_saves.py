"""A save that is killed at a chosen or random moment, and what the directory holds afterwards.

Run as a process of its own, which has one thread and may fork:
``python -m clip_core.tests.checkpoint.kill_saves DIRECTORY OLD_SHARD_SIZE NEW_SHARD_SIZE RANDOM_KILLS``.
Prints what was found after each kill as a JSON list: ``"old"``, ``"new"`` or what is wrong.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from clip_core.checkpoint.directory import load_checkpoint
from clip_core.checkpoint.saving import save_checkpoint
from clip_core.config import CLIPConfig
from clip_core.initialization import draw_weights
from clip_core.tests.sizes import DISTINCT

CONFIGS = {"old": DISTINCT, "new": replace(DISTINCT, projection_dim=31)}
"""Of different sizes, so that no file of one checkpoint fits the other."""
WEIGHTS = {name: dict(draw_weights(config, seed=1, projection=True)) for name, config in CONFIGS.items()}
_FILE_EVENTS = {"open", "os.rename", "os.remove", "os.listdir", "os.scandir", "os.mkdir"}


def save(directory: Path, which: str, max_shard_size: str) -> None:
    """Writes the old checkpoint or the new one."""
    save_checkpoint(directory, CONFIGS[which], WEIGHTS[which], architecture="CLIPModel", max_shard_size=max_shard_size)


def kill_at_event(number: int) -> Callable[[], None]:
    """Makes the process kill itself just before it touches a file for the ``number``-th time."""

    def arrange() -> None:
        count = 0

        def count_and_kill(event: str, _: object) -> None:
            nonlocal count
            if event in _FILE_EVENTS:
                count += 1
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count_and_kill)

    return arrange


def killed(run: Callable[[], None], arrange: Callable[[], None], delay: float | None = None) -> bool:
    """Runs in a fork, which is killed after ``delay`` seconds if that is given; whether it was killed."""
    child = os.fork()
    if child == 0:
        arrange()
        run()
        os._exit(0)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def found(directory: Path) -> str:
    """Which checkpoint the directory holds, as the models would read it."""
    try:
        loaded = load_checkpoint(directory, CLIPConfig)
        which = next(name for name, config in CONFIGS.items() if config == loaded.config)
        for name, value in loaded.weights.items():
            np.testing.assert_array_equal(value, WEIGHTS[which][name])
    except Exception as error:
        return repr(error)
    return which


def main(directory: Path, old_size: str, new_size: str, random_kills: int) -> list[str]:
    """Kills a save over the old checkpoint at every access to a file, then at random moments."""
    outcomes = []
    number, again = 0, True
    while again:
        number += 1
        shutil.rmtree(directory, ignore_errors=True)
        save(directory, "old", old_size)
        again = killed(lambda: save(directory, "new", new_size), kill_at_event(number))
        outcomes.append(found(directory))
    save(directory, "old", old_size)
    start = time.perf_counter()
    save(directory, "new", new_size)
    duration = time.perf_counter() - start
    rng = random.Random(0)
    for _ in range(random_kills):  # over whatever the kill before has left
        sizes = rng.choice([("old", old_size), ("new", new_size)])
        killed(lambda sizes=sizes: save(directory, *sizes), lambda: None, rng.uniform(0, 1.5 * duration))
        outcomes.append(found(directory))
    return outcomes


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))))
