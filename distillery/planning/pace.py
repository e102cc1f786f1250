"""The pace of a dataset: how long its parts took by the clock, beside what services and teacher say that they worked."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from distillery.dataset.folder import RECIPE, part_path
from distillery.planning.made_parts import MadeParts

_LONGEST_WAIT = 60.0
"""s; where more than this and a part's own work lies between it and the one before, nothing was at work."""
_LEAST_RATIO = 0.01
"""Of clock to work: parts that came faster than this were copied here."""


@dataclass(frozen=True)
class Pace:
    """What the clock says.

    n_parts  parts whose times were compared
    work     what services and labeller worked on them, one after another, s
    clock    what that took by the clock, s
    start    from the recipe to the first part, without its own work: loading, above all; s
    """

    n_parts: int
    work: float
    clock: float
    start: float

    @property
    def is_known(self) -> bool:
        """False while there are fewer than two parts, or where they were copied."""
        return self.work > 0 and self.clock > _LEAST_RATIO * self.work


def measure_pace(made_parts: MadeParts, parts: Iterable[str]) -> Pace:
    """By the times of the parts' files; pauses are left out. Parts are those that were found."""
    written = sorted((part_path(made_parts.folder, part).stat().st_mtime, part) for part in parts)
    if not written:
        return Pace(0, 0.0, 0.0, 0.0)
    works = [_find_work(made_parts, part) for _, part in written]
    gaps = [after - before for (before, _), (after, _) in pairwise(written)]
    clock = sum(gap if gap <= work + _LONGEST_WAIT else work for gap, work in zip(gaps, works[1:], strict=True))
    return Pace(len(gaps), sum(works[1:]), clock, _find_start(made_parts, written[0][0] - works[0]))


def _find_work(made_parts: MadeParts, part: str) -> float:
    entry = made_parts.peek(part)
    return 0.0 if entry is None else entry.totals.generate_seconds + entry.totals.label_seconds


def _find_start(made_parts: MadeParts, first: float) -> float:
    """How long before `first`, Unix time, the recipe was written; 0 where that says nothing: it was long before, or after."""
    try:
        waited = first - (made_parts.folder / RECIPE).stat().st_mtime
    except FileNotFoundError:
        return 0.0
    return waited if 0 < waited < 10 * _LONGEST_WAIT else 0.0
