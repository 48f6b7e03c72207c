"""Writes the measured parts of ``docs/performance.md`` and its charts from ``benchmarks/results``.

    python -m benchmarks.report

A part stands between ``<!-- measured: ROW -->`` and ``<!-- end -->``; what is around it is written by hand and stays.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.row import Row
from benchmarks.rows import ROWS, row

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
CHARTS = ROOT / "docs" / "performance"
RESULTS = Path(__file__).parent / "results"
Result = dict[str, Any]


def tables(row: Row, found: Result) -> Iterator[tuple[str, list[Result]]]:
    """Cases that stand in one table, by its title."""
    groups: dict[tuple[Any, int], list[Result]] = {}
    for case in found["cases"]:
        groups.setdefault((case["case"].get(row.group), case["cores"]), []).append(case)
    for (group, cores), cases in groups.items():
        words = [] if row.group is None else [str(group)]
        yield ", ".join([*words, f"{cores} core{'s' if cores > 1 else ''}"]), cases


def settings(row: Row, case: Mapping[str, Any]) -> str:
    """What tells a case from the others of its table."""
    return ", ".join(f"{key} {value}" for key, value in case["case"].items() if key != row.group) or "time"


def duration(seconds: float) -> str:
    """With three digits."""
    unit, scale = next((pair for pair in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)) if seconds >= pair[1]), ("ns", 1e-9))
    return f"{digits(seconds / scale)} {unit}"


def digits(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def cell(known: Mapping[str, Any], row: Row, case: Mapping[str, Any]) -> str:
    """A ratio with its time, and memory or operations in a second where the row has them."""
    if "failed" in known:
        return "fails"
    if "seconds" not in known:
        return ""
    more = f", {known['memory'] / 1e6:.0f} MB" if row.memory else ""
    more += f", {digits(row.operations(case) / known['seconds'] / 1e9)} G/s" if row.operations else ""
    return f"**{known['ratio']:.2f}** ({duration(known['seconds'])}{more})"


def table(row: Row, title: str, cases: Sequence[Result]) -> list[str]:
    """Lines of a table: a side in each line, a case in each column."""
    measured = [case for case in cases if "left_out" not in case]
    lines = [f"Left out, {case['left_out']}: {title}, {settings(row, case)}." for case in cases if case not in measured]
    if not measured:
        return [f"Not measured: {title}; {cases[0]['left_out']}.", ""]
    names = list(dict.fromkeys(side for case in measured for side in case["sides"]))
    lines += [f"| {title} | " + " | ".join(settings(row, case) for case in measured) + " |"]
    lines += ["|---" * (1 + len(measured)) + "|"]
    for side in names:
        cells = [cell(case["sides"].get(side, {}), row, case["case"]) for case in measured]
        if any(cells):
            lines.append(f"| {side} | {' | '.join(cells)} |")
    return [*lines, ""]


def failures(found: Result) -> list[str]:
    """Why a side has no time, once for each reason."""
    failed = ((side, known) for case in found["cases"] for side, known in case["sides"].items() if "failed" in known)
    reasons = dict.fromkeys(f"{side}: {' '.join(known['failed'].split())[:160]}" for side, known in failed)
    return [*(f"- Fails: {reason}" for reason in reasons), ""] if reasons else []


def differences(row: Row, found: Result) -> list[str]:
    """How far results were apart, in the worst case of each group."""
    apart: dict[Any, dict[str, float]] = {}
    for case in found["cases"]:
        worst = apart.setdefault(case["case"].get(row.group), {})
        for side, known in case["sides"].items():
            if "seconds" in known and "difference" in known:
                worst[side] = max(worst.get(side, 0.0), known["difference"])
    return [_worst(group, sides) for group, sides in apart.items() if any(sides.values())]


def _worst(group: Any, sides: Mapping[str, float]) -> str:
    most = max(sides.values())
    names = ", ".join(side for side, value in sides.items() if value > most / 10)
    results = "Results" if group is None else f"Results, {group},"
    return f"{results} differ from those of the reference by {most:.1g} at most ({names})."


def head(found: Result) -> str:
    """Where and when."""
    processor, versions = found["processor"], found["versions"]
    name = f"{processor['name']} (family {processor['family']}, model {processor['model']})"
    instructions = ", ".join(processor["instructions"])
    shown = ("torch", "transformers", "tensorflow", "jax", "open_clip_torch", "onnxruntime", "openvino")
    libraries = ", ".join(f"{package} {versions[package]}" for package in shown if package in versions)
    rounds = sorted({case["rounds"] for case in found["cases"] if case["rounds"]})
    counted = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"{rounds[0] if rounds else 0}"
    return (
        f"{found['date']}, commit {found['commit']}; {name}, {instructions}, {processor['cores']} cores, load "
        f"{processor['load']:.1f} before; {counted} rounds; Python {versions['python']}, {libraries}."
    )


def part(row: Row, found: Result) -> str:
    """What stands between the marks of a row."""
    lines = [head(found), "", f"![{row.title}](performance/{row.name}.png)", ""]
    for title, cases in tables(row, found):
        lines += table(row, title, cases)
    lines += failures(found)
    return "\n".join([*lines, *differences(row, found)]).strip()


def main() -> None:
    from benchmarks.charts import draw

    page = PAGE.read_text()
    CHARTS.mkdir(exist_ok=True)
    for name in ROWS:
        path, mark = RESULTS / f"{name}.json", f"<!-- measured: {name} -->"
        if not path.exists() or mark not in page:
            print(f"{name}: no {path.name if mark in page else f'{mark} in {PAGE.name}'}", file=sys.stderr)
            continue
        chosen, found = row(name), json.loads(path.read_text())
        text = f"{mark}\n\n{part(chosen, found)}\n\n<!-- end -->"
        page = re.sub(f"{mark}.*?<!-- end -->", lambda _, text=text: text, page, flags=re.DOTALL)
        draw(chosen, found, CHARTS / f"{name}.png")
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
