"""How much memory and time ``triclip convert`` takes to each format, beside ``cp`` of the same file.

Run with ``python -m benchmarks.convert [FORMAT ...]``; it needs 7 GB of disk. The source is a float32 checkpoint of
ViT-L/14's sizes with random weights, 1.7 GB. ``cp`` and the conversion are processes of their own, run in turns; the
ratio is the median over the turns, and both end with the file on the disk (``sync``). A conversion reads its result
back and compares digests, as it does unless told otherwise; the last column is the ratio without that.

Memory is the peak resident set of the process and of those it starts, above that of a bare interpreter. The aim is at
most twice the largest tensor and 64 MB.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TURNS = 3
MEGABYTE = 1_000_000
# Not imported from the converter: a new process begins with the peak memory of this one, which must stay small.
FORMATS = ("hf", "openai", "open_clip", "hf-tf", "hf-flax", "keras-hub", "keras", "nnx")


LARGEST_TENSOR = 49408 * 768 * 4
"""The token embedding, in bytes."""


def save_vit_l_14(directory: str) -> None:
    """Saves a seeded checkpoint of ViT-L/14's sizes."""
    from clip_core.checkpoint.directory import save_checkpoint
    from clip_core.config import CLIPConfig
    from clip_core.initialization import draw_weights

    text = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768}
    vision = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "projection_dim": 768}
    config = CLIPConfig(
        projection_dim=768, text_config=text, vision_config={**vision, "num_hidden_layers": 24, "patch_size": 14}
    )
    save_checkpoint(directory, config, dict(draw_weights(config, seed=0)), architecture="CLIPModel")


def measured(*command: str) -> tuple[float, int]:
    """Wall seconds and peak resident bytes of a process and its children.

    A new process begins with the peak of the one that starts it, so this one must stay small.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    os.sync()
    return time.perf_counter() - start, usage.ru_maxrss * 1024


def turn(source: Path, to: str, directory: Path) -> dict[str, tuple[float, int]]:
    """One measurement of ``cp``, of the conversion and of the conversion that is not read back."""
    copy, result = directory / "copy", directory / "result"
    triclip = (sys.executable, "-m", "weights_convert", "convert", str(source), str(result), "--to", to, "--overwrite")
    found = {"cp": measured("cp", str(source / "model.safetensors"), str(copy))}
    copy.unlink()
    for name, options in (("convert", ()), ("unverified", ("--verify", "none"))):
        found[name] = measured(*triclip, *options)
        measured("rm", "-r", str(result))
    return found


def main() -> None:
    """Measures and prints one line per format."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        code = "import sys; from benchmarks.convert import save_vit_l_14; save_vit_l_14(sys.argv[1])"
        subprocess.run([sys.executable, "-c", code, str(directory / "source")], check=True)
        os.sync()
        interpreter = measured(sys.executable, "-c", "pass")[1]
        allowed = 2 * LARGEST_TENSOR + 64 * MEGABYTE
        size = (directory / "source" / "model.safetensors").stat().st_size
        shown = [f"{count / MEGABYTE:.0f} MB" for count in (size, LARGEST_TENSOR, allowed)]
        print("{}, largest tensor {}: {} of memory are allowed".format(*shown))
        print("to           memory   seconds   times cp   without reading back")
        for to in sys.argv[1:] or FORMATS:
            turns = [turn(directory / "source", to, directory) for _ in range(TURNS)]
            memory = (max(each["convert"][1] for each in turns) - interpreter) / MEGABYTE
            seconds = statistics.median(each["convert"][0] for each in turns)
            ratios = [
                statistics.median(each[name][0] / each["cp"][0] for each in turns) for name in ("convert", "unverified")
            ]
            print(f"{to:<10} {memory:5.0f} MB {seconds:7.1f} s {ratios[0]:10.1f} {ratios[1]:10.1f}", flush=True)


if __name__ == "__main__":
    main()
