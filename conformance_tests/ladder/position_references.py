"""Resampled position embeddings of other libraries, made by `conformance_tests.parity.position_references`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

PATH = Path(__file__).with_name("position_references.safetensors")
HIDDEN = 6
IMAGES = [(7, (5, 5)), (7, (12, 12)), (7, (9, 5)), (24, (16, 16))]
"""Patches along a side, and the new rows and columns."""
TEXTS = [("open_clip", 248), ("open_clip", 32), ("longclip", 248)]
"""Recipe, and tokens instead of 77."""


def read_references() -> dict[str, Any]:
    """Tables ``[token, hidden]``: ``"image 7"``, ``"open_clip 7 9x5"``, ``"text 77"``, ``"longclip 77 248"``, ..."""
    return load_file(PATH)
