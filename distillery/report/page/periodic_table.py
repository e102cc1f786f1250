"""The periodic table, its elements coloured by how many structures hold them: for sets of elements that a row of bars can't show."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import plotly.graph_objects as go
from ase.data import chemical_symbols

from distillery.report.page.chart import FAINT, Chart, Values, style
from distillery.report.page.chart_tables import tabulate
from distillery.structures.elements import DEFAULT_ELEMENTS

_NOBLE_GASES = (0, 2, 10, 18, 36, 54, 86, 118)
_N_GROUPS, _N_ROWS, _F_BLOCK = 18, 10, range(2, 16)
"""Seven periods, a gap, and lanthanides and actinides below it: La to Yb and Ac to No, the third to the sixteenth of their periods."""


def is_wanted(elements: Iterable[int]) -> bool:
    """True if there are elements beyond the nine usual ones, which stand side by side anyway."""
    return not {chemical_symbols[z] for z in elements} <= set(DEFAULT_ELEMENTS)


def place_element(z: int) -> tuple[int, int]:
    """Row and column of an element in the table, from 0."""
    period, (before, last) = next((k, pair) for k, pair in enumerate(pairwise(_NOBLE_GASES)) if z <= pair[1])
    nth = z - before - 1
    if nth >= _F_BLOCK.start and last - before == 32 and nth in _F_BLOCK:
        return period + 3, nth
    return period, nth if nth < 2 and z != 2 else _N_GROUPS - 1 - (last - z)


def chart_periodic_table(elements: Sequence[int], percent: Values) -> Chart:
    """The map of these elements; `percent` is the share of the structures that hold each, shape (n_elements,)."""
    table, places = np.full((_N_ROWS, _N_GROUPS), np.nan), [place_element(z) for z in elements]
    text = np.full(table.shape, "", dtype=object)
    for (row, column), z, share in zip(places, elements, percent, strict=True):
        table[row, column], text[row, column] = round(float(share), 3), chemical_symbols[z]
    figure = go.Figure(
        go.Heatmap(
            z=table,
            text=text,
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0,
            hovertemplate="%{text}: %{z:.2f} % of the structures<extra></extra>",
            hoverongaps=False,
            colorbar={"title": {"text": "%"}, "thickness": 12, "outlinewidth": 0},
            xgap=2,
            ygap=2,
        )
    )
    _write_others(figure, set(elements))
    style(figure, "", "", height=400, showlegend=False)
    figure.update_yaxes(autorange="reversed", visible=False)
    figure.update_xaxes(visible=False)
    symbols = [chemical_symbols[z] for z in elements]
    shows = "Share of the structures that hold an element. Pale ones are rare: a student meets them seldom."
    return Chart(
        "periodic-table", "Periodic table", figure, shows, tabulate(("element", "structures that hold it, %"), symbols, percent), True
    )


def _write_others(figure: go.Figure, own: set[int]) -> None:
    """The symbols of all other elements, so that one finds one's way."""
    others = [z for z in range(1, _NOBLE_GASES[-1] + 1) if z not in own]
    rows, columns = zip(*map(place_element, others), strict=True)
    figure.add_scatter(
        x=columns, y=rows, mode="text", text=[chemical_symbols[z] for z in others], textfont={"color": FAINT, "size": 11}, hoverinfo="skip"
    )
