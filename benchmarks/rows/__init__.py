"""What is measured: a module for each row, which has ``ROW`` and a function for each of its sides."""

from __future__ import annotations

from importlib import import_module

from benchmarks.row import Row

ROWS = ("image", "text", "tokenize", "preprocess", "heads", "load", "command", "import_time", "training")
"""In the order of the report; what is measured unless rows are named."""
ON_REQUEST = ("convert", "reader")
"""Measured only if they are named: they need 7 GB of disk, or tell nothing about other libraries' users."""


def row(name: str) -> Row:
    """A row by its name."""
    found: Row = import_module(f"benchmarks.rows.{name}").ROW
    return found
