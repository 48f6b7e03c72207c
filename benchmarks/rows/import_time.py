"""Importing: whole processes of Python, from start to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.row import Case, Row, Side


def process(folder: Path, case: Case) -> Callable[[], None]:
    """A process that runs a statement."""

    def run() -> None:
        words = [sys.executable, "-W", "ignore", "-c", case["statement"]]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    return run


HELP = "import sys; sys.argv = ['triclip', '--help']; from triclip.cli import main; main()"
STATEMENTS = {
    "numpy and Pillow": "import numpy, PIL",
    "torch": "import torch",
    "tensorflow": "import tensorflow",
    "jax and flax": "import jax, flax",
    "onnxruntime": "import onnxruntime",
    "transformers CLIPModel": "from transformers import CLIPModel",
    "transformers CLIPProcessor": "from transformers import CLIPProcessor",
    "transformers FlaxCLIPModel": "from transformers import FlaxCLIPModel",
    "open_clip": "import open_clip",
    "triclip": "import triclip",
    "triclip --help": HELP,
    "triclip: clip_core": "import clip_core",
    "triclip: clip_core CLIPProcessor": "from clip_core import CLIPConfig, CLIPProcessor",
    "triclip: clip_torch CLIPModel": "from clip_torch import CLIPModel",
    "triclip: clip_tf TFCLIPModel": "from clip_tf import TFCLIPModel",
    "triclip: clip_flax FlaxCLIPModel": "from clip_flax import FlaxCLIPModel",
}
ROW = Row(
    name="import_time",
    title="Importing",
    cases=[{}],
    sides={
        name: Side(function="process", options={"statement": statement}, environment={"KERAS_BACKEND": "tensorflow"})
        for name, statement in STATEMENTS.items()
    },
    warm_ups=1,
    cores=(1,),
    budget=60,
)
