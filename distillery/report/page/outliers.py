"""Outliers: the structures at the far ends, by id, so that a person can look at them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import Arrays
from distillery.planning.statistics import robust_z
from distillery.report.page.contact_charts import Contacts
from distillery.report.page.sampling import SampledStructure, read_sampled
from distillery.report.page.survey import Survey

N_OUTLIERS = 8
"""Structures named in each list."""


@dataclass(frozen=True)
class Outlier:
    """One structure at the far end of something, and how far: `value` and `remark` are made for reading."""

    id: str
    part: str
    source: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Outliers:
    """The farthest structures in one respect."""

    title: str
    explanation: str
    members: list[Outlier]


def find_outliers(survey: Survey, residuals: NDArray[np.float64], contacts: Contacts) -> list[Outliers]:
    """By energy, force, pressure and closest contact; `residuals` in eV/atom, shape (n_structures,)."""
    z = robust_z(residuals)
    forces, (bulk, slabs) = survey.join("largest_force"), survey.split_slabs("pressure")
    return [
        Outliers(
            "Energy beyond composition",
            "Farthest from the best sum of one energy per element, also in robust standard deviations; the gate counts those over 10.",
            _name(survey, np.abs(residuals), lambda i: (f"{residuals[i]:+.2f} eV/atom", f"{z[i]:.1f} deviations")),
        ),
        Outliers("Largest force", "On any atom of the structure.", _name(survey, forces, lambda i: (f"{forces[i]:.1f} eV/Å", ""))),
        Outliers("Pressure", "Of bulk, largest in size, either sign.", _name_pressures(survey, bulk)),
        Outliers("Pressure of slabs", "The same over the whole cell, vacuum included.", _name_pressures(survey, slabs)),
        Outliers(
            "Closest contact", "Shortest distance over the sum of covalent radii, in the sample alone.", _name_contacts(survey, contacts)
        ),
    ]


def _name(survey: Survey, sizes: NDArray[np.floating], describe: Callable[[int], tuple[str, str]]) -> list[Outlier]:
    """The largest of `sizes`, NaN left out, in a fixed order."""
    finite = np.flatnonzero(np.isfinite(sizes))
    order = finite[np.argsort(-sizes[finite], kind="stable")][:N_OUTLIERS]
    ends = np.cumsum([len(ids) for ids in survey.ids])
    found = []
    for i in order.tolist():
        k = int(np.searchsorted(ends, i, side="right"))
        row = i - (int(ends[k - 1]) if k else 0)
        found.append(Outlier(str(survey.ids[k][row]), survey.parts[k], survey.names[int(survey.source[k][row])], *describe(i)))
    return found


def _name_pressures(survey: Survey, pressure: NDArray[np.floating]) -> list[Outlier]:
    return _name(survey, np.abs(pressure), lambda i: (f"{pressure[i]:+.1f} GPa", ""))


def _name_contacts(survey: Survey, contacts: Contacts) -> list[Outlier]:
    shortest = sorted(contacts.shortest, key=lambda pair: (pair[0], pair[1].structure.id))[:N_OUTLIERS]
    named = {drawn.structure.id for _, drawn in shortest}
    parts = {str(id): part for ids, part in zip(survey.ids, survey.parts, strict=True) for id in ids if id in named}
    return [
        Outlier(drawn.structure.id, parts[drawn.structure.id], drawn.source, f"{ratio:.3f} of the radii")
        for ratio, drawn in shortest
        if np.isfinite(ratio)
    ]


def describe_outliers(outliers: Iterable[Outliers]) -> dict[str, str]:
    """What every structure is named for, by its id."""
    why: dict[str, list[str]] = {}
    for group in outliers:
        for member in group.members:
            why.setdefault(member.id, []).append(f"{group.title.lower()}: {member.value}")
    return {id: "; ".join(reasons) for id, reasons in why.items()}


def fetch_outliers(outliers: Iterable[Outliers], read: Callable[[str], Arrays]) -> Iterator[tuple[str, SampledStructure]]:
    """Every structure named, once, with what it is named for; a part is read once."""
    outliers = list(outliers)
    remarks = describe_outliers(outliers)
    named = dict.fromkeys((member.part, member.id) for group in outliers for member in group.members)
    for name in sorted({part for part, _ in named}):
        arrays = read(name)
        rows = {id: i for i, id in enumerate(arrays["provenance/id"].tolist())}
        for part, id in named:
            if part == name:
                yield remarks[id], read_sampled(arrays, rows[id])
