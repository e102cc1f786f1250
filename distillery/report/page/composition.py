"""Charts of what the dataset consists of: sources, elements, entropy, sizes."""

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from distillery.planning.measures import Measures, SourceMeasures, merge_sources
from distillery.planning.statistics import entropy_bits, entropy_ceiling
from distillery.recipe.recipe import Recipe
from distillery.report.page.chart import MARK, Chart, colour, draw_limit, draw_map, find_size_edges, stack_histogram, style
from distillery.report.page.chart_tables import tabulate, tabulate_values
from distillery.report.page.periodic_table import chart_periodic_table, is_wanted
from distillery.report.page.survey import Survey


def chart_composition(
    measures: Measures, survey: Survey, recipe: Recipe, wanted: Mapping[str, int], entropy_gate: float | None
) -> list[Chart]:
    """Sources, elements, the periodic table where there are unusual ones, elements by source, entropy, sizes."""
    elements, merged = _list_elements(measures, recipe), merge_sources(measures.sources.values())
    holds = 100 * merged.structures_with[elements] / max(int(merged.kept), 1)
    return [
        _chart_sources(measures, wanted),
        _chart_sizes(survey),
        _chart_elements(measures, recipe),
        _chart_entropy(measures, recipe, entropy_gate),
        *([chart_periodic_table([int(z) for z in elements], holds)] if is_wanted(elements) else []),
        _chart_elements_by_source(measures, recipe),
    ]


def _chart_sources(measures: Measures, wanted: Mapping[str, int]) -> Chart:
    names = list(measures.sources)
    figure = go.Figure()
    kept = [measures.sources[name].kept for name in names]
    figure.add_bar(
        y=names,
        x=[wanted[name] for name in names],
        orientation="h",
        name="wanted",
        marker={"color": "rgba(0,0,0,0)", "line": {"color": "#9aa4ae", "width": 1.5}},
        hovertemplate="%{y}: %{x:,} wanted<extra></extra>",
    )
    figure.add_bar(
        y=names,
        x=kept,
        orientation="h",
        name="in the dataset",
        marker={"color": [colour(k) for k in range(len(names))]},
        hovertemplate="%{y}: %{x:,} in the dataset<extra></extra>",
    )
    style(figure, "structures", "", barmode="overlay", showlegend=False)
    figure.update_yaxes(autorange="reversed")
    shows = "Filled: structures in the dataset; outline: what the recipe asks for by now. Every bar should be full."
    table = tabulate(("source", "wanted", "in the dataset"), names, [wanted[name] for name in names], kept)
    return Chart("sources", "Structures by source", figure, shows, table)


def _chart_sizes(survey: Survey) -> Chart:
    sizes = survey.join("n_atoms")
    figure = stack_histogram(sizes, survey.join("source"), survey.names, find_size_edges(sizes), "atoms")
    style(figure, "atoms in a structure", "structures")
    shows = "How large the structures are. Look for sources that sit in a single spike: they teach one size only."
    return Chart("sizes", "Sizes", figure, shows, tabulate_values(sizes, survey.join("source"), survey.names, "atoms"))


def _chart_elements(measures: Measures, recipe: Recipe) -> Chart:
    elements, merged = _list_elements(measures, recipe), merge_sources(measures.sources.values())
    symbols = [chemical_symbols[z] for z in elements]
    figure, shares = go.Figure(), []
    for name, counts, total, tint in (
        ("share of the atoms", merged.atoms_of, merged.atoms_of.sum(), colour(0)),
        ("share of the structures that hold it", merged.structures_with, merged.kept, "#b9c9de"),
    ):
        share = 100 * counts[elements] / max(int(total), 1)
        shares.append(share)
        figure.add_bar(x=symbols, y=np.round(share, 3), name=name, marker={"color": tint}, hovertemplate="%{x}: %{y:.2f} %<extra></extra>")
    style(figure, "element", "share, %")
    shows = "Every element of the recipe should have its bars. The dark ones would all be equal in the most varied set there can be."
    table = tabulate(("element", "share of the atoms, %", "share of the structures that hold it, %"), symbols, *shares)
    return Chart("elements", "Elements", figure, shows, table)


def _chart_entropy(measures: Measures, recipe: Recipe, gate: float | None) -> Chart:
    scopes = {"all": merge_sources(measures.sources.values()), **measures.sources}
    elements = _list_elements(measures, recipe)
    n_elements = len(elements)
    figure, columns = go.Figure(), []
    for name, counts, tint in (("by atoms", "atoms_of", colour(0)), ("by structures", "structures_with", "#b9c9de")):
        bits = [round(entropy_bits(getattr(own, counts)), 4) for own in scopes.values()]
        columns.append(bits)
        figure.add_bar(x=list(scopes), y=bits, name=name, marker={"color": tint}, hovertemplate="%{x}: %{y:.3f} bits<extra></extra>")
    columns.append([round(entropy_ceiling(n_elements, _hydrogen_share(own) if 1 in elements else None), 4) for own in scopes.values()])
    figure.add_scatter(
        x=list(scopes),
        y=columns[-1],
        mode="markers",
        name="ceiling with its hydrogen",
        marker={"symbol": "line-ew", "size": 26, "line": {"width": 2, "color": MARK}},
        hovertemplate="%{x}: at most %{y:.3f} bits<extra></extra>",
    )
    style(figure, "", "entropy of the elements, bits")
    ceiling = entropy_ceiling(n_elements)
    draw_limit(figure, f"ceiling: {n_elements} elements in equal shares, {ceiling:.2f} bits", y=ceiling)
    figure.update_yaxes(range=[0, 1.15 * ceiling or 1])
    asked = f" The gate asks for {gate:.4g} bits by atoms over all sources." if gate is not None else ""
    shows = (
        "How evenly the elements are used: 0 if there is one only, the ceiling if all are equally frequent. "
        f"Hydrogen lowers what can be reached by atoms (short lines).{asked}"
    )
    table = tabulate(("source", "by atoms, bits", "by structures, bits", "ceiling with its hydrogen, bits"), scopes, *columns)
    return Chart("entropy", "Entropy of the elements", figure, shows, table)


def _chart_elements_by_source(measures: Measures, recipe: Recipe) -> Chart:
    elements, names = _list_elements(measures, recipe), list(measures.sources)
    rows = np.array([measures.sources[name].atoms_of[elements] for name in names], dtype=float)
    share = np.round(100 * rows / np.maximum(rows.sum(axis=1, keepdims=True), 1), 2)
    figure = draw_map(
        [chemical_symbols[z] for z in elements],
        names,
        share,
        hover="%{y}: %{z:.2f} % of the atoms are %{x}",
        x="element",
        height=130 + 42 * len(names),
    )
    shows = "Percent of a source's atoms. Where one source alone fills a column, this element is learnt in one kind of structure only."
    table = tabulate(("source", *(f"{chemical_symbols[z]}, %" for z in elements)), names, *share.T)
    return Chart("elements-by-source", "Elements by source", figure, shows, table, is_wide=True)


def _hydrogen_share(own: SourceMeasures) -> float:
    return float(own.atoms_of[1] / max(int(own.atoms_of.sum()), 1))


def _list_elements(measures: Measures, recipe: Recipe) -> NDArray[np.intp]:
    """Atomic numbers of the recipe's elements and of all others that occur."""
    is_shown = merge_sources(measures.sources.values()).atoms_of > 0
    is_shown[[atomic_numbers[e] for e in recipe.elements]] = True
    return np.flatnonzero(is_shown)
