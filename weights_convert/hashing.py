"""One digest for the weights of a model, the same in every format."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np

from clip_core.checkpoint.tensors import Array, Tensor, contiguous

_MOST_NAMES = 5


class Manifest:
    """Collects a line per weight; the digest of the sorted lines is the digest of the model.

    A line is ``name dtype shape sha256``, the latter of the little-endian bytes in row-major order.
    Weights can be added in any order, one at a time.

    Attributes:
        lines: by the name of the weight.
        nonfinite: how many values of a weight are NaN or infinite, where there are any.
    """

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}
        self.nonfinite: dict[str, int] = {}

    def add(self, name: str, value: Array) -> None:
        """Adds one weight, by its name in the shared scheme."""
        content = contiguous(value).reshape(-1).view(np.uint8)
        shape = "x".join(map(str, value.shape)) or "scalar"
        self.lines[name] = f"{name} {value.dtype.name} {shape} {hashlib.sha256(content.data).hexdigest()}"
        count = value.size - int(np.count_nonzero(np.isfinite(value)))
        if count:
            self.nonfinite[name] = count

    def notes(self) -> list[str]:
        """A note for people on values that are not finite."""
        if not self.nonfinite:
            return []
        first = [f"{name} ({count:,})" for name, count in sorted(self.nonfinite.items())[:_MOST_NAMES]]
        more = len(self.nonfinite) - len(first)
        named = f"{', '.join(first)}{f' and {more} more' if more else ''}"
        return [f"not finite: {sum(self.nonfinite.values()):,} values of {named}"]

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
