"""A picture of a row: a bar for each side in each case, as a ratio to the first side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot as plt

from benchmarks.report import settings, tables
from benchmarks.row import Row

OURS, THEIRS, LIMIT = ("#0b6e4f", "#7fc8a9"), ("#5b6573", "#c3c9d2"), ("#b3541e", "#e8b298")
"""The colours of the first and the last case, of Triclip's sides, of peers and of limits."""
LONGEST = 2.5
"""Bars of a larger ratio are cut, with an arrow and the ratio beside them."""


def _colour(side: str, share: float) -> Any:
    ends = OURS if side.startswith("triclip") else LIMIT if side.startswith("limit") else THEIRS
    return matplotlib.colors.LinearSegmentedColormap.from_list("", ends)(share)


def draw(row: Row, found: dict[str, Any], path: Path) -> None:
    """Writes a PNG with a panel for each table."""
    panels = [(title, [case for case in cases if "left_out" not in case]) for title, cases in tables(row, found)]
    panels = [(title, cases) for title, cases in panels if cases]
    if not panels:
        return
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    most = max(_bars(cases) for _, cases in panels)
    size = (6.2 * columns, lines * (1.1 + 0.16 * most))
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, layout="constrained")
    for axis, (title, cases) in zip(axes.flat[: len(panels)], panels, strict=True):
        _panel(axis, row, title, cases)
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    figure.suptitle(f"{row.title}: time as a ratio to the first side's, shorter is faster", fontsize=10)
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def _sides(cases: list[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(side for case in cases for side in case["sides"])
    return [side for side in names if any("ratio" in case["sides"].get(side, {}) for case in cases)]


def _bars(cases: list[dict[str, Any]]) -> int:
    return len(_sides(cases)) * (len(cases) + 1)


def _panel(axis: Any, row: Row, title: str, cases: list[dict[str, Any]]) -> None:
    place, ticks = 0.0, {}
    for side in _sides(cases):
        ticks[side] = place + (len(cases) - 1) / 2
        for number, case in enumerate(cases):
            ratio = case["sides"].get(side, {}).get("ratio")
            if ratio is not None:
                colour = _colour(side, number / max(1, len(cases) - 1) * 0.8)
                axis.barh(place, min(ratio, LONGEST), color=colour, height=0.9)
                label = f"{ratio:.2f}  {settings(row, case)}" if len(cases) > 1 else f"{ratio:.2f}"
                label = f"→ {label}" if ratio > LONGEST else label
                axis.text(min(ratio, LONGEST) + 0.02, place, label, fontsize=6, va="center")
            place += 1
        place += 0.8
    axis.set_yticks(list(ticks.values()), list(ticks), fontsize=7)
    axis.invert_yaxis()
    axis.axvline(1, color="#888888", linewidth=0.6)
    axis.set_xlim(0, LONGEST * 1.25)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_title(title, fontsize=8, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
