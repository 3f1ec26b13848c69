"""Figures beside their budgets, as lines and as a Markdown table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BEGIN, END = "<!-- table of compare.py: begin -->", "<!-- table of compare.py: end -->"
TOLERANCE = 0.25


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Parameters
    ----------
    work
        What was measured.
    measured
        The number, or None if it could not be measured; ``detail`` then says why.
    unit
        What the number counts.
    budget
        The largest number allowed (the smallest if ``at_least``), or None if nothing is asked of it.
    at_least
        Whether more is better.
    detail
        The numbers behind it.
    judged
        False if what else went on may have spoiled the number.
    """

    work: str
    measured: float | None
    unit: str
    budget: float | None
    at_least: bool = False
    detail: str = ""
    judged: bool = True

    @property
    def verdict(self) -> str:
        """Say how the number stands to its budget."""
        if self.budget is None:
            return ""
        if self.measured is None or not self.judged:
            return "not judged"
        if self._within(0.0):
            return "met"
        return "missed" if self._within(TOLERANCE) else "MISSED"

    def _within(self, tolerance: float) -> bool:
        assert self.measured is not None
        assert self.budget is not None
        if self.at_least:
            return self.measured >= self.budget * (1 - tolerance)
        return self.measured <= self.budget * (1 + tolerance)

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the table's row."""
        sign = ">=" if self.at_least else "<="
        measured = "-" if self.measured is None else f"{self.measured:.3g} {self.unit}".strip()
        budget = "" if self.budget is None else f"{sign} {self.budget:g} {self.unit}".strip()
        return self.work, measured, budget, self.verdict, self.detail

    def line(self) -> str:
        """Return the figure as a line of text."""
        work, measured, budget, verdict, detail = self.cells()
        return f"{work:<58} {measured:>10} {budget:>12} {verdict:<10} {detail}".rstrip()


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("us", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def misses(figures: Sequence[Figure]) -> list[Figure]:
    """Return the judged figures that miss their budget by more than a quarter."""
    return [figure for figure in figures if figure.verdict == "MISSED"]


def markdown_table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    header = ("work", "measured", "budget", "verdict", "detail")
    rows = [header, ("---", "---:", "---:", "---", "---"), *(figure.cells() for figure in figures)]
    return "\n".join(_row(row) for row in rows)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def judge_rows(page: Path, conditions: str, figures: Sequence[Figure]) -> None:
    """Fill in the rows of a page's table that were not judged; what was judged stays as it is."""
    if conditions not in page.read_text().splitlines():
        raise ValueError(
            f"the table of {page} is not of today and these versions ({conditions}); renew all of it"
        )
    judged = {figure.work: figure for figure in figures if figure.verdict not in {"", "not judged"}}
    lines = page.read_text().splitlines()
    for number, line in enumerate(lines):
        cells = line.strip("|").split("|")
        figure = judged.get(cells[0].strip())
        if figure is not None and cells[3].strip() == "not judged":
            lines[number] = _row(figure.cells())
    page.write_text("\n".join(lines) + "\n")


def write_between_markers(page: Path, text: str) -> None:
    """Replace what stands between the two markers of a page."""
    content = page.read_text()
    before, begin, rest = content.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks the markers {BEGIN!r} and {END!r}; put them where the table belongs")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
