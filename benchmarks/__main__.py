"""Measures rows and writes what was found to ``benchmarks/results``.

    python -m benchmarks [ROW ...] [--side NAME ...] [--case KEY=VALUE ...] [--cores 2] [--rounds 5]

Every side runs in this interpreter's environment, which ``make bench-peers`` makes, so that two sides of a framework
have the same version of it. ``python -m benchmarks.report`` makes ``docs/performance.md`` of the results.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from benchmarks.harness import Bench, print_case
from benchmarks.machine import commit, processor, versions
from benchmarks.materials import make, material_folder
from benchmarks.row import Row
from benchmarks.rows import ON_REQUEST, ROWS, row

RESULTS = Path(__file__).parent / "results"
MATERIALS = Path(__file__).parent.parent / "build" / "benchmarks"


@click.command()
@click.argument("names", metavar="[ROW]...", nargs=-1)
@click.option("--side", "sides", metavar="NAME", multiple=True, help="Only these, the first one to compare with.")
@click.option("--case", "wanted", metavar="KEY=VALUE", multiple=True, help="Only cases with it.")
@click.option("--cores", type=int, multiple=True, help="How many, a run for each.  [default: as the row says]")
@click.option("--rounds", type=click.IntRange(min=1), help="How many turns.  [default: as time allows, 3 to 9]")
@click.option("--folder", type=click.Path(path_type=Path), default=MATERIALS, help="Where materials are made, 3 GB.")
@click.option("--results", type=click.Path(path_type=Path), help="Where results are written.  [default: the page's]")
def main(
    names: tuple[str, ...],
    sides: tuple[str, ...],
    wanted: tuple[str, ...],
    cores: tuple[int, ...],
    rounds: int | None,
    folder: Path,
    results: Path | None,
) -> None:
    """Measures the rows that are named, or all that need no more than time."""
    part = bool(sides or wanted or cores)
    if results is None and part:
        print("Only a part of a row: nothing is written without --results.", file=sys.stderr)
    results = RESULTS if results is None and not part else results
    unknown = set(names) - {*ROWS, *ON_REQUEST}
    if unknown:
        raise click.UsageError(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS + ON_REQUEST)}")
    materials = material_folder(folder)
    for name in names or ROWS:
        chosen = _only(row(name), sides, wanted, cores)
        make(chosen.materials, materials, sys.executable)
        described = {"row": name, "date": datetime.now(UTC).date().isoformat(), "commit": commit()}
        described |= {"processor": processor(), "versions": versions()}
        cases = []
        for found in Bench(sys.executable, materials, rounds=rounds, sides=sides).measure(chosen):
            print_case(name, found)
            cases.append(found)
        if results is not None:
            results.mkdir(parents=True, exist_ok=True)
            (results / f"{name}.json").write_text(_lines({**described, "cases": cases}))


def _only(row: Row, sides: tuple[str, ...], wanted: tuple[str, ...], cores: tuple[int, ...]) -> Row:
    """A row without what was not asked for."""
    missing = set(sides) - set(row.sides)
    if missing:
        raise click.UsageError(f"{row.name} has no side {sorted(missing)}; it has {list(row.sides)}")
    pairs = [each.partition("=")[::2] for each in wanted]
    sizes = [int(value) for key, value in pairs if key == row.sized and value.isdecimal()]
    cases = [{**case, row.sized: size} for case in row.cases[:1] for size in sizes if row.sized] or row.cases
    cases = [case for case in cases if all(str(case.get(key)) == value for key, value in pairs)]
    if not cases:
        raise click.UsageError(f"{row.name} has no case {' '.join(wanted)}; it has {list(row.cases)}")
    return dataclasses.replace(row, cases=cases, cores=cores or row.cores)


def _lines(found: dict[str, Any]) -> str:
    """JSON with a line for each side, so that a change can be read."""
    cases = found.pop("cases")
    head = json.dumps(found, indent=1, ensure_ascii=False)[:-2]
    written = []
    for case in cases:
        sides = ",\n".join(f"   {json.dumps(side)}: {json.dumps(known)}" for side, known in case["sides"].items())
        rest = json.dumps({key: value for key, value in case.items() if key != "sides"})
        written.append(f'  {rest[:-1]}, "sides": {{\n{sides}\n  }}}}')
    return head + ',\n "cases": [\n' + ",\n".join(written) + "\n ]\n}\n"


if __name__ == "__main__":
    main()
