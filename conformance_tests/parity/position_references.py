"""Position embeddings as open_clip and transformers resample them, for the tests of every backend.

    PYTHONPATH=. ENV/bin/python -m conformance_tests.parity.position_references

``ENV`` has open_clip_torch. Writes ``position_references.safetensors`` beside the ladder: drawn tables with their first
row, of the class token, by open_clip's own functions; what transformers does in a call, by the one line of torch that
it consists of; and LongCLIP's, which nobody packages, by a loop over its rule. All of it in float64, since torch places
the taps in the dtype of the table; what float32 tables give there is measured. A second run shows how far the file is
from what the installed versions do.
"""

from __future__ import annotations

from importlib import import_module, metadata
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clip_core.commands import echo
from clip_core.interpolation import LONGCLIP_KEPT
from conformance_tests.ladder.position_references import HIDDEN, IMAGES, PATH, TEXTS, read_references

Array = NDArray[Any]


def drawn(rows: int) -> Array:
    """A table of unit normal numbers, which float32 can hold."""
    return np.random.default_rng(rows).standard_normal((rows, HIDDEN)).astype(np.float32).astype(np.float64)


def of_open_clip(table: Array, grid: tuple[int, int]) -> Array:
    """A vision table by `open_clip.model.resize_pos_embed`."""
    torch, model = import_module("torch"), import_module("open_clip.model")
    state = {"visual.positional_embedding": torch.from_numpy(table)}
    model.resize_pos_embed(state, SimpleNamespace(visual=SimpleNamespace(grid_size=grid)))
    return np.asarray(state["visual.positional_embedding"])


def of_open_clip_text(table: Array, length: int) -> Array:
    """A text table by `open_clip.model.resize_text_pos_embed`."""
    torch, model = import_module("torch"), import_module("open_clip.model")
    state = {"positional_embedding": torch.from_numpy(table)}
    model.resize_text_pos_embed(state, SimpleNamespace(positional_embedding=torch.empty(length, HIDDEN)))
    return np.asarray(state["positional_embedding"])


def of_transformers(table: Array, grid: tuple[int, int]) -> Array:
    """A vision table as ``interpolate_pos_encoding`` of transformers 4.57 has it."""
    torch = import_module("torch")
    side = round((len(table) - 1) ** 0.5)
    patches = torch.from_numpy(table[1:]).reshape(1, side, side, HIDDEN).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(patches, size=grid, mode="bicubic", align_corners=False)
    return np.concatenate([table[:1], np.asarray(resized.permute(0, 2, 3, 1).reshape(-1, HIDDEN))])


def of_longclip(table: Array) -> Array:
    """A text table as LongCLIP makes 248 positions of 77."""
    rows = list(table[:LONGCLIP_KEPT])
    for index in range(LONGCLIP_KEPT, len(table)):
        last = index == len(table) - 1
        step = table[index] - table[index - 1] if last else table[index + 1] - table[index]
        rows += [table[index] + step * (quarter / 4) for quarter in range(4)]
    return np.array(rows, table.dtype)


def made(dtype: str = "float64") -> dict[str, Any]:
    """Every table by its name, computed in this dtype."""
    found: dict[str, Any] = {}
    for side, grid in IMAGES:
        table = drawn(side * side + 1).astype(dtype)
        found[f"image {side}"] = table
        found[f"open_clip {side} {grid[0]}x{grid[1]}"] = of_open_clip(table, grid)
        found[f"transformers {side} {grid[0]}x{grid[1]}"] = of_transformers(table, grid)
    found["text 77"] = drawn(77).astype(dtype)
    for recipe, length in TEXTS:
        found[f"{recipe} 77 {length}"] = (
            of_longclip(found["text 77"]) if recipe == "longclip" else of_open_clip_text(found["text 77"], length)
        )
    return found


def main() -> None:
    """Compare with the file, if there is one, and write it anew."""
    exact, narrow = made(), made("float32")
    tables = {name: table.astype(np.float32) for name, table in exact.items()}
    for name, table in narrow.items():
        echo(f"{name} by a float32 table: {np.abs(table - exact[name]).max():.1e} off")
    if PATH.exists():
        before = read_references()
        largest = max(np.abs(before[name] - table).max() for name, table in tables.items() if name in before)
        echo(f"largest difference to the file: {largest:.1e}")
    versions = {name: metadata.version(name) for name in ("open_clip_torch", "torch")}
    contiguous = {name: np.ascontiguousarray(table) for name, table in tables.items()}
    import_module("safetensors.numpy").save_file(contiguous, PATH, versions)
    echo(f"{PATH.name}: {len(tables)} tables by {versions}")


if __name__ == "__main__":
    main()
