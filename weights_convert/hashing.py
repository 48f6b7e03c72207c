"""One digest for the weights of a model, the same in every format."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from clip_core.checkpoint.tensors import Array, Tensor, contiguous


class Manifest:
    """Collects a line per weight; the digest of the sorted lines is the digest of the model.

    A line is ``name dtype shape sha256``, the latter of the little-endian bytes in row-major order.
    Weights can be added in any order, one at a time.
    """

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    def add(self, name: str, value: Array) -> None:
        """Adds one weight, by its name in the shared scheme."""
        content = contiguous(value).reshape(-1).view(np.uint8)
        shape = "x".join(map(str, value.shape)) or "scalar"
        self.lines[name] = f"{name} {value.dtype.name} {shape} {hashlib.sha256(content.data).hexdigest()}"

    def digest(self) -> str:
        """SHA-256 over the sorted lines."""
        text = "".join(f"{line}\n" for _, line in sorted(self.lines.items()))
        return hashlib.sha256(text.encode()).hexdigest()


def weights_manifest(weights: Mapping[str, Tensor], advance: Callable[[int], None] = lambda count: None) -> Manifest:
    """The manifest of weights in the shared scheme, read one at a time; ``advance`` is told the bytes of each."""
    manifest = Manifest()
    for name, tensor in weights.items():
        manifest.add(name, tensor.read())
        advance(tensor.nbytes)
    return manifest
