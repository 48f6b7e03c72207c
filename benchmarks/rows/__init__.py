"""What is measured: a module for each row, which has ``ROW`` and a function for each of its sides."""

from __future__ import annotations

from importlib import import_module

from benchmarks.row import Row

ROWS = ("image", "text", "tokenize", "preprocess", "load", "import_time", "training")
"""In the order of the report."""


def row(name: str) -> Row:
    """A row by its name."""
    found: Row = import_module(f"benchmarks.rows.{name}").ROW
    return found
