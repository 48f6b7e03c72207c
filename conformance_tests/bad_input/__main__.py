"""Provokes every case in every backend, each backend in a process of its own, checks the errors, writes the table.

``python -m conformance_tests.bad_input``            checks and writes ``docs/bad_input.md``
``python -m conformance_tests.bad_input --check``    checks only
``python -m conformance_tests.bad_input --scope torch``    one process's part, as JSON
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from clip_core.backends import BACKENDS
from clip_core.checkpoint.files import write_text_atomically
from conformance_tests.adapter import load_adapter
from conformance_tests.bad_input.case import Bench, Case, cases, own_copy, write_checkpoint

CORE = "any"
"""The scope of the cases that go through no backend."""
PAGE = Path(__file__).parents[2] / "docs" / "bad_input.md"

_TERMINAL_CODES = re.compile(r"\x1b\[\d+m")  # Keras prints in bold

Outcome = dict[str, str]
"""Of one case: its title, the names of the exception and its bases, and its message."""


def outcomes(scope: str) -> list[Outcome]:
    """Provokes the cases of a scope, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        pristine, directory = Path(folder) / "pristine", Path(folder) / "checkpoint"
        config = write_checkpoint(pristine)
        adapter = None if scope == CORE else load_adapter(scope)
        found = []
        for case in cases(needs_model=adapter is not None):
            bench = Bench(
                directory=own_copy(pristine, directory),
                config=config,
                load=lambda path, dtype=None: adapter.load("model", path, dtype=dtype),
                build=lambda config, weights=None: adapter.build("model", config, weights),
                call=lambda model, **inputs: adapter.call(model, "", **inputs),
            )
            found.append(_outcome(case, bench, folder))
    return found


def _outcome(case: Case, bench: Bench, folder: str) -> Outcome:
    try:
        case.provoke(bench)
    except Exception as error:
        message = _TERMINAL_CODES.sub("", str(error)).replace(f"{folder}/", "")
        return {"title": case.title, "error": type(error).__name__, "message": message}
    return {"title": case.title, "error": "", "message": "no error"}


def problems(scope: str, found: list[Outcome]) -> list[str]:
    """What is wrong with the errors of a scope: none at all, another exception, a message that lacks a part."""
    wanted = {case.title: case for case in cases(needs_model=scope != CORE)}
    lines = []
    for outcome in found:
        case = wanted[outcome["title"]]
        lacking = [part for part in case.parts if part not in outcome["message"]]
        if outcome["error"] != case.error.__name__ or lacking:
            lines.append(
                f"{scope}: {case.title}: expected {case.error.__name__} with {lacking or 'its message'}, "
                f"got {outcome['error']}: {outcome['message']}"
            )
    return lines


def run_scope(scope: str) -> list[Outcome]:
    """`outcomes` of a process of its own; frameworks do not share one.

    Raises:
        RuntimeError: the process failed.
    """
    words = [sys.executable, "-m", "conformance_tests.bad_input", "--scope", scope]
    process = subprocess.run(words, capture_output=True, text=True, encoding="utf-8")
    if process.returncode != 0:
        raise RuntimeError(f"{scope}: {process.stderr[-2000:]}")
    found: list[Outcome] = json.loads(process.stdout)
    return found


def page(by_scope: dict[str, list[Outcome]]) -> str:
    """The table as Markdown; a message that all backends share stands once."""
    rows: defaultdict[str, dict[tuple[str, str], list[str]]] = defaultdict(dict)
    for scope, found in by_scope.items():
        for outcome in found:
            rows[outcome["title"]].setdefault((outcome["error"], outcome["message"]), []).append(scope)
    lines = [
        "# Bad input and what it gets",
        "",
        f"{len(rows)} mistakes, each made in every backend that it concerns; the messages are as printed.",
        "Every exception is a `CLIPError` and also the built-in exception that it resembles (`clip_core/errors.py`).",
        "`python -m conformance_tests.bad_input` makes this page and checks every message.",
        "",
        "| Mistake | In | Exception | Message |",
        "|---|---|---|---|",
    ]
    for title, variants in rows.items():
        for (error, message), scopes in variants.items():
            where = "all four" if scopes == [*BACKENDS] else "the core" if scopes == [CORE] else ", ".join(scopes)
            shown = message.replace("|", "\\|").replace("<", "&lt;").replace("\n", "<br>")
            lines.append(f"| {title} | {where} | `{error}` | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """The command; its exit code is 1 if an error is not what it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scope", choices=(CORE, *BACKENDS))
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    if arguments.scope:
        with contextlib.redirect_stdout(sys.stderr):
            found = outcomes(arguments.scope)
        json.dump(found, sys.stdout)
        return 0
    by_scope = {scope: run_scope(scope) for scope in (CORE, *BACKENDS)}
    wrong = [line for scope, found in by_scope.items() for line in problems(scope, found)]
    print("\n".join(wrong) or f"{sum(map(len, by_scope.values()))} errors are as they should be.")
    if not arguments.check and not wrong:
        write_text_atomically(PAGE, page(by_scope))
    return 1 if wrong else 0


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.exit(main())
