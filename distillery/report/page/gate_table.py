"""The gates as the page lists them: what failed one by one, what every source passed in one row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distillery.planning.gates import Verdict
    from distillery.schema.report import GateRecord

_SIGNS = {">=": "≥", "<=": "≤"}


@dataclass(frozen=True)
class Row:
    """One line of the table, made for reading."""

    gate: str
    scope: str
    value: str
    wanted: str
    ceiling: str
    passed: bool
    meaning: str
    detail: str


def list_rows(verdicts: "Iterable[Verdict | GateRecord]") -> list[Row]:
    """Failed gates first; those that several sources passed are one row with the range of their values."""
    rows = []
    for (_, passed), group in groupby(sorted(verdicts, key=lambda v: (v.passed, v.gate)), key=lambda v: (v.gate, v.passed)):
        members = list(group)
        sources = [v for v in members if v.scope != "all"]
        folds = passed and len(sources) > 1
        rows += [_describe([v], v.scope) for v in members if v.scope == "all" or not folds]
        rows += [_describe(sources, f"each of {len(sources)} sources")] if folds else []
    return rows


def describe_failed(gates: "Iterable[Verdict | GateRecord]") -> list[str]:
    """For example `element entropy (all): 2.148, wanted ≥ 3.07, can reach 2.585`, of gates as report.json has them."""
    rows = list_rows(gates)
    return [
        f"{row.gate} ({row.scope}): {row.value}, wanted {row.wanted}"
        + (row.ceiling and f", can reach {row.ceiling}")
        + (row.detail and f": {row.detail}")
        for row in rows
    ]


def _describe(verdicts: "Sequence[Verdict | GateRecord]", scope: str) -> Row:
    first, values = verdicts[0], sorted(v.value for v in verdicts if v.value is not None)
    digits = _find_digits(values, first.threshold)
    ends = list(dict.fromkeys(write_number(v, digits) for v in (values[0], values[-1]))) if values else [write_number(None)]
    return Row(
        gate=first.gate.replace("_", " "),
        scope=scope,
        value=" – ".join(ends),
        wanted=f"{_SIGNS.get(first.sign, first.sign)} {write_number(first.threshold, digits)}",
        ceiling="" if first.ceiling is None else write_number(first.ceiling),
        passed=first.passed,
        meaning=first.meaning,
        detail=first.detail,
    )


def _find_digits(values: list[float], threshold: float) -> int:
    """So many that no value looks like a threshold that it is not: 0.99997 may not read as a 1 that failed."""
    others = [value for value in values if value != threshold]
    return next(n for n in range(4, 18) if all(_round(value, n) != _round(threshold, n) for value in others))


def _round(value: float, digits: int) -> float:
    """What `write_number` lets a reader see of it."""
    return float(write_number(value, digits).replace(",", ""))


def write_number(value: float | None, digits: int = 4) -> str:
    """A number for reading: whole ones with thousands set apart, others with four digits or more; a dash for none."""
    if value is None:
        return "–"
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.{digits - 3}f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
