"""Charts of bond lengths against covalent radii, from a sample of structures."""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
import plotly.graph_objects as go
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.report.page.chart import GRID, MARK, Chart, colour, draw_limit, style
from distillery.report.page.chart_tables import Table, find_binned_quantiles, tabulate
from distillery.report.page.sampling import SampledStructure
from distillery.report.page.survey import Survey
from distillery.structures.geometry import find_pairs, sum_of_radii
from distillery.structures.length_checks import SHORTEST_RATIO
from distillery.structures.structure import Structure

BOND_LIMIT = 1.25
"""Pairs nearer than this times the sum of their covalent radii are bonded, as in `distillery.structures.geometry.find_bonds`."""
_FARTHEST_RATIO = 2.0
_REACH = 4.0
"""Å; twice the covalent radii of all but the heaviest elements."""
_EDGES = np.linspace(0.4, _FARTHEST_RATIO, 161)
_SQUEEZED = 0.8
"""Distances below this times the sum of covalent radii are of atoms pressed together."""
_LEAST_PAIRS = 10
"""Bonds of a pair of elements, fewer of which say nothing of their spread."""


@dataclass
class Contacts:
    """Distances in a sample.

    ratio_counts  pairs by distance over the sum of covalent radii, by source, shape (160,)
    n_atoms       atoms that they belong to, by source
    lengths       lengths of bonds, Å, by the pair's atomic numbers, the smaller first
    shortest      (ratio, structure) of every structure's closest pair
    """

    ratio_counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    n_atoms: dict[str, int] = field(default_factory=dict)
    lengths: dict[tuple[int, int], list[NDArray[np.float32]]] = field(default_factory=lambda: defaultdict(list))
    shortest: list[tuple[float, SampledStructure]] = field(default_factory=list)


def measure_contacts(survey: Survey) -> Contacts:
    """The distances in every source's sample."""
    contacts = Contacts()
    for name, own in survey.sources.items():
        contacts.ratio_counts[name] = np.zeros(len(_EDGES) - 1, np.int64)
        contacts.n_atoms[name] = sum(len(drawn.structure) for drawn in own.measured)
        for drawn in own.measured:
            ratio = _measure(drawn.structure, contacts, contacts.ratio_counts[name])
            contacts.shortest.append((ratio, drawn))
    return contacts


def _measure(structure: Structure, contacts: Contacts, counts: NDArray[np.int64]) -> float:
    """Add one structure's pairs; the smallest ratio among them."""
    pairs = find_pairs(structure, _REACH)
    once = pairs.i <= pairs.j
    first, second, distance = structure.numbers[pairs.i[once]], structure.numbers[pairs.j[once]], pairs.distance[once]
    ratio = distance / sum_of_radii(first, second)
    counts += np.histogram(ratio, _EDGES)[0]
    is_bond = ratio < BOND_LIMIT
    low, high = np.minimum(first, second)[is_bond], np.maximum(first, second)[is_bond]
    codes = low.astype(np.int64) * 256 + high
    for code in np.unique(codes):
        contacts.lengths[int(code // 256), int(code % 256)].append(distance[is_bond][codes == code].astype(np.float32))
    return float(ratio.min()) if ratio.size else float("inf")


def find_closest_ratio(structure: Structure) -> float:
    """The shortest distance over the sum of covalent radii; infinite if no two atoms are within 4 Å."""
    pairs = find_pairs(structure, _REACH)
    ratio = pairs.distance / sum_of_radii(structure.numbers[pairs.i], structure.numbers[pairs.j])
    return float(ratio.min()) if ratio.size else float("inf")


def chart_contacts(contacts: Contacts) -> list[Chart]:
    """Distances by source, bond lengths by pair of elements."""
    return [_chart_ratios(contacts), _chart_lengths(contacts)]


def _chart_ratios(contacts: Contacts) -> Chart:
    figure = go.Figure()
    for k, (name, counts) in enumerate(contacts.ratio_counts.items()):
        if counts.any():
            figure.add_scatter(
                x=np.round((_EDGES[1:] + _EDGES[:-1]) / 2, 4),
                y=np.round(counts / contacts.n_atoms[name] / (_EDGES[1] - _EDGES[0]), 4),
                name=name,
                mode="lines",
                line={"color": colour(k), "width": 1.8},
                hovertemplate=f"%{{x:.2f}} of the radii: %{{y:.2f}}<extra>{name}</extra>",
            )
    style(figure, "distance / sum of covalent radii", "pairs per atom and unit of ratio")
    draw_limit(figure, f"refused below {SHORTEST_RATIO:g}", x=SHORTEST_RATIO)
    figure.update_yaxes(rangemode="tozero")
    shows = (
        "All pairs of neighbours in the sample. Bonds make the peak near 1; the dip behind it separates them from second neighbours. "
        "Weight between 0.6 and 0.8 means squeezed atoms."
    )
    return Chart("ratios", "Distances against covalent radii", figure, shows, _tabulate_ratios(contacts), is_wide=True)


def _tabulate_ratios(contacts: Contacts) -> Table:
    """What is told of squeezed atoms and of bonds, by source."""
    names = [name for name, counts in contacts.ratio_counts.items() if counts.any()]
    centres = (_EDGES[1:] + _EDGES[:-1]) / 2
    squeezed, bonded, middle = (list[float]() for _ in range(3))
    for name in names:
        counts, n_atoms = contacts.ratio_counts[name], contacts.n_atoms[name]
        squeezed.append(float(counts[centres < _SQUEEZED].sum()) / n_atoms)
        bonded.append(float(counts[centres < BOND_LIMIT].sum()) / n_atoms)
        middle.append(find_binned_quantiles(counts[centres < BOND_LIMIT], centres[centres < BOND_LIMIT])[1])
    heads = ("source", f"pairs per atom below {_SQUEEZED:g}", f"below {BOND_LIMIT:g} (bonds)", "median ratio of the bonds")
    return tabulate(heads, names, squeezed, bonded, middle)


def _chart_lengths(contacts: Contacts) -> Chart:
    rows = []
    for (a, b), lists in sorted(contacts.lengths.items()):
        lengths = np.concatenate(lists)
        if len(lengths) >= _LEAST_PAIRS:
            radii = float(sum_of_radii(np.array([a], np.uint8), np.array([b], np.uint8))[0])
            low, middle, high = (round(float(q), 3) for q in np.quantile(lengths, [0.05, 0.5, 0.95]))
            rows.append((radii, low, middle, high, f"{chemical_symbols[a]}–{chemical_symbols[b]}", len(lengths)))
    radii_, low_, middle_, high_, pair_, n_ = (list(column) for column in zip(*rows, strict=True)) if rows else ([],) * 6
    ends = [min(radii_, default=0.5) - 0.1, max(radii_, default=2.5) + 0.1]
    figure = go.Figure()
    for factor, text in ((1.0, "sum of radii"), (BOND_LIMIT, f"{BOND_LIMIT:g} × sum: counted as bonded up to here")):
        dash = "solid" if factor == 1.0 else "dot"
        figure.add_scatter(x=ends, y=[factor * e for e in ends], mode="lines", name=text, line={"color": MARK, "width": 1, "dash": dash})
    figure.add_scatter(
        x=radii_,
        y=middle_,
        error_y={
            "type": "data",
            "array": np.subtract(high_, middle_),
            "arrayminus": np.subtract(middle_, low_),
            "color": "#9db6d6",
            "thickness": 1.5,
            "width": 2,
        },
        mode="markers+text",
        text=pair_,
        textposition="middle right",
        textfont={"size": 9},
        customdata=np.array([low_, high_, n_]).T,
        marker={"color": colour(0), "size": 6},
        name="median, 5–95 % of the bonds",
        hovertemplate=(
            "%{text}: median %{y:.2f} Å, 5–95 % %{customdata[0]:.2f}–%{customdata[1]:.2f} Å, %{customdata[2]:,} bonds<extra></extra>"
        ),
    )
    style(figure, "sum of covalent radii, Å", "bond length, Å", height=460)
    figure.update_layout(hovermode="closest", yaxis={"gridcolor": GRID})
    shows = (
        "One point per pair of elements. Points on the solid line are textbook bonds; points well above it are pairs that "
        "rarely bond but come near each other in random structures."
    )
    heads = ("pair", "sum of radii, Å", "5 % are below, Å", "median, Å", "95 % are below, Å", "bonds")
    table = tabulate(heads, pair_, radii_, low_, middle_, high_, n_)
    return Chart("lengths", "Bond lengths by pair of elements", figure, shows, table, is_wide=True)
