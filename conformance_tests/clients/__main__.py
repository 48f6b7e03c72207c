"""Makes the environment of a client, and runs the client there.

    python -m conformance_tests.clients make ENVDIR diffusers
    ENVDIR/bin/python -m conformance_tests.clients run diffusers     # from the root of the repository

``run`` prints a row for each thing that was tried, as in ``docs/clients.md``. Its exit code is 1 if one of them does
not work that should, or works though its reason why not is listed; such rows end in ``!``. ``run NAME WORD`` tries only
what has this word in its title.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from conformance_tests.clients.environments import ENVIRONMENTS
from conformance_tests.clients.trial import HEAD, outcome, trials

ROOT = Path(__file__).parents[2]


def make(directory: Path, name: str) -> int:
    """An environment with what Triclip needs at all, and what the client needs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    venv.create(directory, with_pip=True)
    command = [directory / "bin" / "python", "-m", "pip", "install", "--quiet"]
    return subprocess.call([*command, *project["dependencies"], *ENVIRONMENTS[name].requirements])


def run(name: str, word: str) -> int:
    """Runs the trials of a client and prints a row for each."""
    environment = ENVIRONMENTS[name]
    importlib.import_module(f"conformance_tests.clients.{environment.module}")
    print(HEAD, flush=True)
    failed = False
    for trial in [trial for trial in trials() if word in trial.what]:
        row = outcome(trial, environment.client())
        failed |= row.surprising
        print(row, flush=True)
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance_tests.clients", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making, running = commands.add_parser("make"), commands.add_parser("run")
    making.add_argument("directory", type=Path)
    for command in (making, running):
        command.add_argument("name", choices=list(ENVIRONMENTS))
    running.add_argument("word", nargs="?", default="")
    given = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return make(given.directory, given.name) if given.command == "make" else run(given.name, given.word)


if __name__ == "__main__":
    sys.exit(main())
