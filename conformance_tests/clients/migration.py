"""The blocks of ``docs/migrating.md``, before and after the change, run: both must print the same.

A block of ``diff`` is two programs: lines with ``-`` and those with a space are the one before, lines with ``+`` and
those with a space the one after. Names of published checkpoints stand for the embedded one.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from clip_core.checkpoint.locating import resolve_checkpoint
from conformance_tests.clients.trial import trial
from weights_convert import convert

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "migrating.md"

_SECTION = re.compile(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^```diff\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_END = "--- end of a block"


def sections() -> dict[str, list[str]]:
    """Title of each section of the page, and its blocks."""
    return {title: _BLOCK.findall(body) for title, body in _SECTION.findall(PAGE.read_text(encoding="utf-8"))}


def program(block: str, side: str) -> str:
    """The program before (``-``) or after (``+``) the change."""
    return "".join(line[1:] for line in block.splitlines(keepends=True) if line[0] in (side, " "))


def check_blocks(blocks: list[str], directory: Path) -> str:
    """Runs the programs before of some blocks in one process, those after in another; what both print.

    Raises:
        AssertionError: one fails, prints nothing, or not what the other does.
    """
    shutil.copy(ROOT / "triclip" / "samples" / "umbrella.png", directory)
    before, after = (_printed([program(block, side) for block in blocks], directory) for side in "-+")
    assert before == after, f"before:\n{before}\nafter:\n{after}"
    assert all(part.strip() for part in before.split(_END)[:-1]), f"nothing is printed:\n{before}"
    return before


def try_section(title: str) -> None:
    """Makes a section of the page a trial of the client whose module is imported."""

    @trial(f"docs/migrating.md, {title}: both sides of every block print the same")
    def _(directory: Path) -> None:
        check_blocks(sections()[title], directory)


def _with_local_names(code: str, directory: Path) -> str:
    checkpoint = resolve_checkpoint("triclip-emoji")
    if "hf-hub:" in code:
        convert(checkpoint, directory / "open_clip", to="open_clip", overwrite=True)
    if "keras_hub" in code:
        convert(checkpoint, directory / "preset", to="keras-hub", overwrite=True)
    code = re.sub(r'"clip_vit_[^"]+"', repr(str(directory / "preset")), code)
    code = re.sub(r'"hf-hub:laion/[^"]+"', repr(f"local-dir:{directory / 'open_clip'}"), code)
    return re.sub(r'"(openai|laion)/[^"]+"', repr(str(checkpoint)), code)


def _printed(programs: list[str], directory: Path) -> str:
    local = [_with_local_names(code, directory) for code in programs]
    code = "".join(f"exec({each!r}, {{}})\nprint({_END!r})\n" for each in local)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    environment |= {"TF_USE_LEGACY_KERAS": "1"} if "from transformers import" in code else {}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
