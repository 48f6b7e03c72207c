"""How long ``import clip_core`` and ``triclip --help`` take, as ratios to importing NumPy and Pillow.

Run with ``python -m benchmarks.import_time``. All are processes of their own, run in turns, so that a busy computer
slows them alike; each ratio is the median over the turns.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

TURNS = 15
REFERENCE = "import numpy, PIL"
STATEMENTS = {
    REFERENCE: REFERENCE,
    "import clip_core": "import clip_core",
    "from clip_core import CLIPConfig, CLIPProcessor": "from clip_core import CLIPConfig, CLIPProcessor",
    "triclip --help": "import sys; sys.argv = ['triclip', '--help']; from triclip.cli import main; main()",
}


def seconds(statement: str) -> float:
    """Wall time of a Python process that runs one statement."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measures and prints one line per statement."""
    for statement in STATEMENTS.values():  # the files come into the page cache, the bytecode is compiled
        seconds(statement)
    turns = [{name: seconds(statement) for name, statement in STATEMENTS.items()} for _ in range(TURNS)]
    print(f"{'median of ' + str(TURNS) + ' turns':<50} seconds   ratio")
    for name in STATEMENTS:
        middle = statistics.median(turn[name] for turn in turns)
        ratio = statistics.median(turn[name] / turn[REFERENCE] for turn in turns)
        print(f"{name:<50} {middle:7.3f}  {ratio:6.2f}")


if __name__ == "__main__":
    main()
