"""Do two sides do the same work? Only then are they timed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.row import Case, Row


def difference(found: Any, wanted: Any) -> dict[str, float]:
    """How far results are from the reference's.

    Of integers it is the share of rows that differ. Of other numbers it is the largest difference as a part of what
    tells the rows apart, the largest distance of a number from the mean over the rows; and the least cosine of a row.
    """
    if found.shape != wanted.shape:
        return {"difference": float("inf"), "cosine": -1.0}
    if wanted.dtype.kind in "iub":
        unequal = (found != wanted).reshape(len(wanted), -1).any(axis=1) if wanted.ndim else found != wanted
        return {"difference": float(np.mean(unequal))}
    found, wanted = (value.astype(np.float64).reshape(len(value) if value.ndim else 1, -1) for value in (found, wanted))
    centred = wanted - wanted.mean(axis=0) if len(wanted) > 1 else wanted
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = float(((found * wanted).sum(axis=1) / lengths).min())
    return {"difference": float(abs(found - wanted).max() / abs(centred).max()), "cosine": cosine}


def compare(results: Mapping[str, Path], row: Row, case: Case) -> dict[str, dict[str, Any]]:
    """How far each side's results are from the reference's, with ``failed`` where they differ by more than they may."""
    known: dict[str, dict[str, Any]] = {}
    there = {side: path for side, path in results.items() if path.exists()}
    reference = there.get(row.reference or "") or next(iter(there.values()), None)
    for side, path in there.items():
        known[side] = difference(np.load(path), np.load(reference))
        problem = row.problem(side, case, known[side])
        if problem:
            known[side]["failed"] = f"other results: {problem}"
    return known
