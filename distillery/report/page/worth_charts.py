"""Charts and rows of what a student learnt from the dataset (`distillery assess`)."""

from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from distillery.report.page.chart import COLOURS, Chart, style
from distillery.report.page.chart_tables import tabulate
from distillery.schema.assess import Assessment, CurvePoint, Errors

_GROUPS = (("source", "validation and test sides"), ("family", "probe set"), ("unseen", "probe set, compositions it has not seen"))


def chart_worth(found: Assessment) -> list[Chart]:
    """Learning curves of forces and of energies, by family of the probe set."""
    forces = (
        "Mean absolute error of the components, against the number of structures learnt from; both axes are logarithmic. A line that "
        "still falls at its right end says that more structures of that kind help; a flat one that other structures are needed."
    )
    energies = "The same of energies. Where forces fall and energies do not, compositions are missing rather than displacements."
    return [
        _chart_curves(found.curve, "learning-forces", "Learning curves, forces", "error, meV/Å", lambda errors: errors.forces, forces),
        _chart_curves(
            found.curve, "learning-energies", "Learning curves, energies", "error, meV/atom", lambda errors: errors.energy, energies
        ),
    ]


def _chart_curves(curve: Sequence[CurvePoint], name: str, title: str, axis: str, measure: Callable[[Errors], float], shows: str) -> Chart:
    figure, sizes = go.Figure(), [point.n_structures for point in curve]
    columns = [[measure(point.family[family]) for point in curve] for family in curve[-1].family]
    for k, family in enumerate(curve[-1].family):
        figure.add_scatter(
            x=sizes,
            y=columns[k],
            name=family,
            mode="lines+markers",
            line={"color": COLOURS[-1 - k % len(COLOURS)], "width": 2},
            marker={"size": 8},
            hovertemplate=f"%{{x:,}} structures: %{{y:.0f}}<extra>{family}</extra>",
        )
    style(figure, "structures on the training side", axis)
    figure.update_xaxes(type="log", tickvals=sizes, ticktext=[f"{size:,}" for size in sizes])
    figure.update_yaxes(type="log", dtick="D2")
    families = curve[-1].family
    table = tabulate(("structures", *(f"{family}, {axis}" for family in families)), [f"{size:,}" for size in sizes], *columns)
    return Chart(name, title, figure, shows, table)


def list_errors(found: Assessment) -> list[dict[str, Any]]:
    """One row a group of structures: errors with the smallest share and with all."""
    first, last = found.curve[0], found.curve[-1]
    return [
        {"of": of, "name": name, "first": getattr(first, group)[name], "last": errors}
        for group, of in _GROUPS
        for name, errors in getattr(last, group).items()
    ]
