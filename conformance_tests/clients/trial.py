"""A trial: something that a user of a client does with our classes, compared with the same on transformers' classes.

A client's module is a list of functions like this one::

    @trial("LoRA, merged")
    def _(directory: Path) -> Any:
        ...
        return ours, theirs

Each gets an empty directory and returns what came out of ours and of theirs, as tensors, arrays, or lists of them; or
nothing, where there is nothing to compare. It raises if something is not as it should be.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HEAD = "| client | what was run | largest difference | result |\n|---|---|---|---|"


@dataclass(frozen=True)
class Trial:
    """What is tried; see `trial`."""

    what: str
    run: Callable[[Path], Any]
    within: float
    fails: str | None


_TRIALS: list[Trial] = []


def trial(what: str, *, within: float = 0.0, fails: str | None = None) -> Callable[[Callable[[Path], Any]], None]:
    """Makes a function a trial of the client that this process runs.

    Args:
        what: what was run, for the table.
        within: the largest difference that passes, with a reason beside it unless 0: the same bits.
        fails: why it does not work, for what is known not to.
    """

    def add(function: Callable[[Path], Any]) -> None:
        _TRIALS.append(Trial(what, function, within, fails))

    return add


def trials() -> list[Trial]:
    """Those of the modules that were imported, in order."""
    return _TRIALS


@dataclass(frozen=True)
class Row:
    """A row of the table; ``surprising`` if it is not what the trial expects."""

    cells: tuple[str, ...]
    surprising: bool

    def __str__(self) -> str:
        cells = (" ".join(cell.split()).replace("|", "\\|") for cell in self.cells)
        return f"| {' | '.join(cells)} |{' !' if self.surprising else ''}"


def outcome(trial: Trial, client: str) -> Row:
    """Runs a trial."""
    try:
        with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compared = trial.run(Path(directory))
        difference = None if compared is None else largest_difference(*compared)
    except Exception as error:
        said = f"{type(error).__name__}: {str(error) or 'no message'}"
        known = trial.fails is not None
        return Row((client, trial.what, "", f"no: {trial.fails} ({said:.120})" if known else said[:600]), not known)
    shown = "" if difference is None else f"{difference:.2g}"
    if difference is not None and not difference <= trial.within:
        return Row((client, trial.what, shown, f"differs: at most {trial.within:.2g} is expected"), True)
    works = trial.fails is None
    return Row((client, trial.what, shown, "works" if works else f"works, though listed: {trial.fails}"), not works)


def largest_difference(ours: Any, theirs: Any) -> float:
    """The largest absolute difference; NaN if one is not a number, an error if shapes or kinds differ."""
    if isinstance(ours, list | tuple):
        if len(ours) != len(theirs):
            raise AssertionError(f"ours are {len(ours)} values, theirs {len(theirs)}")
        return max((largest_difference(*pair) for pair in zip(ours, theirs, strict=True)), default=0.0)
    if isinstance(ours, str):
        if ours != theirs:
            raise AssertionError(f"ours is {ours!r:.60}, theirs {theirs!r:.60}")
        return 0.0
    left, right = _array(ours), _array(theirs)
    if left.shape != right.shape:
        raise AssertionError(f"ours has shape {left.shape}, theirs {right.shape}")
    return float(np.abs(left - right).max(initial=0.0))


def _array(value: Any) -> Any:
    value = value.detach().cpu() if hasattr(value, "detach") else value
    return np.asarray(
        value.float() if str(getattr(value, "dtype", "")) == "torch.bfloat16" else value, dtype=np.float64
    )
