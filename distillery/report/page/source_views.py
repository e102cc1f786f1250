"""Every source by itself: how much of it there is, of what, how it is labelled, and what was refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.planning.measures import Measures, SourceMeasures
from distillery.recipe.recipe import Recipe
from distillery.report.page.chart import colour
from distillery.report.page.chart_tables import write_value
from distillery.report.page.gallery import Gallery
from distillery.report.page.outliers import Outliers
from distillery.report.page.survey import Survey

_MOST_REASONS = 6
_SPREADS = (
    ("atoms in a structure", "n_atoms", ""),
    ("energy", "energy", "eV/atom"),
    ("largest force", "largest_force", "eV/Å"),
    ("pressure", "pressure", "GPa"),
)


@dataclass(frozen=True)
class SourceView:
    """One source.

    colour    in all charts
    made_by   service and system, as the recipe wants them, and who made some in its place
    spreads   (what, 5 % are below, median, 95 % are below, unit)
    elements  symbol and share of its atoms, most first
    charges   total charge with its sign, and how many have it, where the dataset tells charges
    n_open    structures with unpaired electrons
    refused   reason and count, most first; `n_reasons` counts all of them
    outliers  (id, what it is an outlier by)
    n_carried its structures in the page
    """

    name: str
    colour: str
    made_by: str
    kept: int
    wanted: int
    spreads: list[tuple[str, str, str, str, str]]
    elements: list[tuple[str, str]]
    charges: list[tuple[str, int]]
    n_open: int
    refused: list[tuple[str, int]]
    n_reasons: int
    outliers: list[tuple[str, str]]
    n_carried: int


def view_sources(
    measures: Measures, survey: Survey, recipe: Recipe, wanted: Mapping[str, int], outliers: list[Outliers], gallery: Gallery
) -> list[SourceView]:
    """The sources in the recipe's order."""
    return [
        _view(name, measures.sources[name], survey, recipe, wanted[name], outliers, gallery)
        for name in survey.names
        if measures.sources[name].kept
    ]


def _view(
    name: str, own: SourceMeasures, survey: Survey, recipe: Recipe, wanted: int, outliers: list[Outliers], gallery: Gallery
) -> SourceView:
    refused = [(reason, n) for reason, n in sorted(own.rejected.items(), key=lambda item: (-item[1], item[0])) if n]
    is_own = survey.join("source") == survey.names.index(name)
    return SourceView(
        name=name,
        colour=colour(survey.names.index(name)),
        made_by=_say_maker(name, own, recipe),
        kept=own.kept,
        wanted=wanted,
        spreads=list(_list_spreads(survey, is_own)),
        elements=_list_elements(own.atoms_of),
        charges=_list_charges(survey.join("charge")[is_own]) if survey.has_states else [],
        n_open=int((survey.join("spin")[is_own] > 1).sum()),
        refused=refused[:_MOST_REASONS],
        n_reasons=len(refused),
        outliers=_list_outliers(outliers, name),
        n_carried=sum(one["source"] == name for one in gallery.data["structures"]),
    )


def _say_maker(name: str, own: SourceMeasures, recipe: Recipe) -> str:
    source = recipe.sources[name]
    others = sorted(set(own.makers) - {source.service})
    return f"{source.system} by {source.service}" + (f", some by {' and '.join(others)}" if others else "")


def _list_spreads(survey: Survey, is_own: NDArray[np.bool_]) -> list[tuple[str, str, str, str, str]]:
    rows = []
    for title, key, unit in _SPREADS:
        values: NDArray[Any] = survey.join(key)[is_own].astype(np.float64)
        values = values[np.isfinite(values)]
        if values.size:
            low, middle, high = (write_value(float(q)) for q in np.quantile(values, (0.05, 0.5, 0.95), method="closest_observation"))
            rows.append((title, low, middle, high, unit))
    return rows


def _list_elements(atoms_of: NDArray[np.int64]) -> list[tuple[str, str]]:
    order = np.argsort(-atoms_of, kind="stable")
    return [(chemical_symbols[z], f"{100 * atoms_of[z] / atoms_of.sum():.1f}") for z in order if atoms_of[z]]


def _list_charges(charges: NDArray[np.int64]) -> list[tuple[str, int]]:
    values, counts = np.unique(charges, return_counts=True)
    return [(f"{value:+d}".replace("-", "−") if value else "0", int(n)) for value, n in zip(values, counts, strict=True)]


def _list_outliers(outliers: list[Outliers], source: str) -> list[tuple[str, str]]:
    why: dict[str, list[str]] = {}
    for group in outliers:
        for member in group.members:
            if member.source == source:
                why.setdefault(member.id, []).append(f"{group.title.lower()} {member.value}")
    return [(id, "; ".join(reasons)) for id, reasons in why.items()]
