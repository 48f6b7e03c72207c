"""Opening and reading a safetensors file: Triclip's reader beside the safetensors package.

Run with ``python -m benchmarks.safetensors_reader``. The file holds float32 weights of ViT-B/32's sizes, 605 MB. Each
measurement is a process of its own, and the readers take turns. ``open`` asks for the layout of every tensor; ``read``
also sums every tensor, one at a time, and lets it go; ``hold`` keeps them all. Memory is the peak of what is not a
mapped file's (which can be dropped at any time): ``RssAnon``.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

TURNS = 5
READERS = ("triclip", "package")
TASKS = ("open", "read", "hold")
_PROCESS = """
import sys, time, ml_dtypes, numpy
from pathlib import Path
reader, task, path = sys.argv[1], sys.argv[2], Path(sys.argv[3])
if reader == "triclip":
    from clip_core.checkpoint.safetensors_file import SafetensorsFile
else:
    from safetensors import safe_open
def anonymous():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) * 1024
before, start, most, held = anonymous(), time.perf_counter(), 0, []
if reader == "triclip":
    file = SafetensorsFile(path)
    layout, get = {name: entry.shape for name, entry in file.entries.items()}, file.__getitem__
else:
    file = safe_open(path, framework="np")
    layout, get = {name: file.get_slice(name).get_shape() for name in file.keys()}, file.get_tensor
for name in layout if task != "open" else ():
    value = get(name)
    value.sum()
    most = max(most, anonymous())
    if task == "hold":
        held.append(value)
print(time.perf_counter() - start, max(most, anonymous()) - before)
"""


def main() -> None:
    """Measures and prints one line per task and reader."""
    from clip_core.checkpoint.directory import save_checkpoint
    from clip_core.config import CLIPConfig
    from clip_core.initialization import draw_weights

    with tempfile.TemporaryDirectory() as directory:
        save_checkpoint(directory, CLIPConfig(), dict(draw_weights(CLIPConfig(), seed=0)), architecture="CLIPModel")
        path = Path(directory, "model.safetensors")
        print(f"{path.stat().st_size / 1e6:.0f} MB, median of {TURNS} turns")
        for task in TASKS:
            found: dict[str, list[tuple[float, float]]] = {reader: [] for reader in READERS}
            for _ in range(TURNS):
                for reader in READERS:
                    command = [sys.executable, "-c", _PROCESS, reader, task, str(path)]
                    ended = subprocess.run(command, check=True, capture_output=True, text=True)
                    seconds, memory = map(float, ended.stdout.split())
                    found[reader].append((seconds, memory))
            for reader, turns in found.items():
                seconds = statistics.median(turn[0] for turn in turns)
                memory = max(turn[1] for turn in turns)
                print(f"{task:<5} {reader:<8} {seconds * 1e3:8.1f} ms {memory / 1e6:7.1f} MB", flush=True)


if __name__ == "__main__":
    main()
