"""What a measurement was taken on: the processor, the cores, the versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "torch",
    "torchvision",
    "transformers",
    "open_clip_torch",
    "tensorflow",
    "tf_keras",
    "keras",
    "keras-hub",
    "jax",
    "flax",
    "onnxruntime",
    "openvino",
    "instant-clip-tokenizer",
    "tokenizers",
    "numpy",
    "pillow",
    "regex",
)
INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")
"""Of the processor's flags, those that decide how fast products are in each dtype."""


def processor() -> dict[str, Any]:
    """The processor, by Linux, and which of `INSTRUCTIONS` it has."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "name": fields.get("model name", platform.machine()),
        "family": fields.get("cpu family"),
        "model": fields.get("model"),
        "cores": os.cpu_count(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "load": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Of Python and of what is installed here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """Triclip's, with a plus where files were changed."""
    words = ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=Path(__file__).parent)
    return ended.stdout.strip() or None
