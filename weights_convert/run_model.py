"""Runs one model in one framework: ``python -m weights_convert.run_model DIRECTORY BACKEND ARCHITECTURE``.

Reads ``inputs.npz`` of the checkpoint directory and writes ``outputs.npz`` beside it. A process of its own, since
TensorFlow and PyTorch do not always bear each other's company.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from clip_core.backends import BACKENDS

_OUTPUTS = (
    "logits_per_image",
    "logits_per_text",
    "text_embeds",
    "image_embeds",
    "last_hidden_state",
    "pooler_output",
)


def main(directory: Path, backend: str, architecture: str) -> None:
    """Loads the model, calls it and writes its outputs as float32."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    package, class_name = import_module(BACKENDS[backend].package), BACKENDS[backend].class_prefix + architecture
    model = getattr(package, class_name).from_pretrained(directory)
    with np.load(directory / "inputs.npz") as loaded:
        inputs: dict[str, Any] = dict(loaded)
    context: Any = nullcontext()
    if backend == "torch":
        import torch

        inputs = {name: torch.from_numpy(value) for name, value in inputs.items()}
        context = torch.no_grad()
    with context:
        outputs = model(**inputs)
    found: dict[str, Any] = {name: np.asarray(outputs[name], np.float32) for name in _OUTPUTS if name in outputs}
    np.savez(directory / "outputs.npz", **found)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
