"""What a row of the report measures: cases, and the sides that take turns in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Case = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One library at work.

    Attributes:
        function: of the row's module; see `benchmarks.worker`.
        within: how much its results may differ from the first side's where that is not the row's `within`.
        environment: variables of its process.
        options: what its function finds in the case, besides the case's own settings.
    """

    function: str
    within: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is measured together.

    Attributes:
        name: as of its module and of its file of results.
        title: of the report.
        cases: settings, each measured by itself.
        sized: the setting for which ``--case`` may name any number instead.
        sides: by their names; ratios are to the first one that works.
        materials: what `benchmarks.materials` has to make for it.
        reference: the side whose results others are compared with; the first one that works unless given.
        within: how much results may differ from those.
        cosine: by dtype, the least cosine of a result with the reference's, where numbers are rounded too coarsely to
            be compared one by one by ``within``.
        fresh: whether each measurement is of a process that has imported its library and done nothing else.
        warm_ups: how many calls come before the rounds.
        cores: how many, one run for each.
        budget: seconds for the rounds of a case, as long as there are at least three.
        needs: by dtype, instructions of which the processor must have one; a case of a dtype that it computes by
            converting every number is left out.
        group: the setting of a case that gets a table of its own.
        operations: how many a call needs at least, of a case; the report then has how many were done in a second.
        memory: whether the report has it: the peak above what was there before a call.
    """

    name: str
    title: str
    cases: Sequence[Case]
    sides: Mapping[str, Side]
    sized: str | None = None
    materials: Sequence[str] = ()
    reference: str | None = None
    within: float = 1e-4
    cosine: Mapping[str, float] = field(default_factory=dict)
    fresh: bool = False
    warm_ups: int = 2
    cores: Sequence[int] = (1, 2)
    budget: float = 15
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    group: str | None = None
    operations: Callable[[Case], float] | None = None
    memory: bool = False
    module: str = ""

    def left_out(self, case: Case, instructions: Sequence[str]) -> str | None:
        """Why a case is not measured on such a processor, if so."""
        needed = self.needs.get(case.get("dtype", ""), ())
        if not needed or set(needed) & set(instructions):
            return None
        return f"the processor has none of {', '.join(needed)}"

    def problem(self, side: str, case: Case, found: Mapping[str, float]) -> str | None:
        """What `benchmarks.comparison.difference` has found too much of, if so."""
        least = self.cosine.get(case.get("dtype", ""))
        if least is not None:
            return None if found["cosine"] >= least else f"a cosine of {found['cosine']:.4f}, less than {least:g}"
        own = self.sides[side].within
        most = self.within if own is None else own
        if found["difference"] <= most:
            return None
        return f"differs by {found['difference']:.2g}, more than {most:g}"
