"""The numbers of a chart as a table, for those who can't see it and for copying."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Table:
    """Texts: one head a column, and rows of as many; the first column names the row."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write_value(value: float | None) -> str:
    """A number to four digits, whole ones with thousands set apart; a dash for none."""
    if value is None or not np.isfinite(value):
        return "–"
    return f"{value:,.0f}" if float(value).is_integer() or abs(value) >= 1e4 else f"{value:.4g}"


def tabulate(heads: Sequence[str], names: Iterable[str], *columns: Iterable[float | None]) -> Table:
    """A table of numbers: `heads` of the names and of every column."""
    texts = [[write_value(value) for value in column] for column in columns]
    return Table(tuple(heads), tuple(zip(names, *texts, strict=True)))


def tabulate_values(values: NDArray[Any], source: NDArray[np.int16], names: Sequence[str], unit: str) -> Table:
    """How the values of every source are spread: the numbers of a histogram. `values` and `source` have the shape (n_structures,)."""
    rows = []
    for k, name in enumerate(names):
        own = values[(source == k) & np.isfinite(values)].astype(np.float64)
        if own.size:
            rows.append((name, write_value(own.size), *(write_value(float(q)) for q in np.quantile(own, (0.0, 0.05, 0.5, 0.95, 1.0)))))
    ends = ("lowest", "5 % are below", "median", "95 % are below", "highest")
    return Table(("source", "structures", *(f"{end}, {unit}" for end in ends)), tuple(rows))


def find_binned_quantiles(counts: NDArray[np.int64], centres: NDArray[np.float64]) -> list[float]:
    """Where 5, 50 and 95 % of what was counted lies; both of the shape (n_bins,)."""
    reached = np.cumsum(counts) / max(int(counts.sum()), 1)
    return [float(centres[min(int(np.searchsorted(reached, share)), len(centres) - 1)]) for share in (0.05, 0.5, 0.95)]
