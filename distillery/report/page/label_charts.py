"""Charts of the labels: energies, forces, stresses."""

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from distillery.report.page.chart import Chart, colour, draw_limit, find_edges, say_outside, stack_histogram, style
from distillery.report.page.chart_tables import find_binned_quantiles, tabulate, tabulate_values
from distillery.report.page.survey import FORCE_EDGES, Survey

_SMALLEST_FORCE = 1e-3
"""eV/Å; structures without any force (perfect symmetry) are drawn there."""


def chart_labels(survey: Survey, residuals: NDArray[np.float64], force_gate: float | None) -> list[Chart]:
    """Energy per atom, what composition leaves of it, forces, stresses; `residuals` in eV/atom, shape (n_structures,)."""
    energy = "The teacher's energies on its own scale. Peaks apart from the rest are mostly compositions; the next picture takes those out."
    rest = (
        "Energy per atom after the best sum of one energy per element is taken off: strain, bonding, distortion. "
        "Expect one hump around zero; far tails are listed under outliers."
    )
    pressure = "Of bulk; positive is compressed. A centre far from zero means cells that are too small or too large."
    of_slabs = "Of slabs, over the whole cell with its vacuum: smaller than that of the slab alone, so not to be compared with bulk's."
    shear = "Of bulk: how far the stress is from equal in all directions. Zero everywhere would mean that no cell is strained."
    charts = [
        _chart_values("energy", "Energy per atom", survey, survey.join("energy"), "energy, eV/atom", "eV/atom", energy),
        _chart_values("residual", "Energy beyond composition", survey, residuals, "energy beyond composition, eV/atom", "eV/atom", rest),
        _chart_forces(survey),
        _chart_largest_forces(survey, force_gate),
    ]
    bulk, slabs = survey.split_slabs("pressure")
    if np.isfinite(bulk).any():
        charts.append(_chart_values("pressure", "Pressure", survey, bulk, "pressure, GPa", "GPa", pressure))
    if np.isfinite(slabs).any():
        charts.append(_chart_values("slab-pressure", "Pressure of slabs", survey, slabs, "pressure, GPa", "GPa", of_slabs))
    bulk_shear, _ = survey.split_slabs("shear")
    if np.isfinite(bulk_shear).any():
        charts.append(_chart_values("shear", "Shear stress", survey, bulk_shear, "von Mises stress, GPa", "GPa", shear))
    return charts


def _chart_values(name: str, title: str, survey: Survey, values: NDArray[np.floating], axis: str, unit: str, shows: str) -> Chart:
    edges = find_edges(values)
    figure = stack_histogram(values, survey.join("source"), survey.names, edges, unit)
    table = tabulate_values(values, survey.join("source"), survey.names, unit)
    return Chart(name, title, style(figure, axis, "structures"), shows + say_outside(values, edges), table)


def _chart_forces(survey: Survey) -> Chart:
    centres = 10 ** ((FORCE_EDGES[1:] + FORCE_EDGES[:-1]) / 2)
    figure = go.Figure()
    for k, name in enumerate(survey.names):
        counts = survey.sources[name].force_counts
        if counts.any():
            figure.add_scatter(
                x=np.round(centres, 6),
                y=np.round(100 * counts / counts.sum(), 4),
                name=name,
                mode="lines",
                line={"color": colour(k), "width": 2, "shape": "linear"},
                hovertemplate=f"%{{x:.3g}} eV/Å: %{{y:.2f}} %<extra>{name}</extra>",
            )
    figure.update_layout(xaxis={"type": "log"})
    style(figure, "force on an atom, eV/Å", "share of the source's atoms, %")
    figure.update_yaxes(rangemode="tozero")
    shows = (
        "All atoms, on a logarithmic axis; smaller and larger ones are counted at its ends. Useful forces lie between about 0.1 and "
        "10 eV/Å: a source that is far left of that sits at equilibrium and teaches no forces, one far right is broken geometry."
    )
    names = [name for name in survey.names if survey.sources[name].force_counts.any()]
    quantiles = [find_binned_quantiles(survey.sources[name].force_counts, centres) for name in names]
    heads = ("source", "5 % of the atoms are below, eV/Å", "median, eV/Å", "95 % are below, eV/Å")
    return Chart("forces", "Forces", figure, shows, tabulate(heads, names, *np.array(quantiles).T.tolist()))


def _chart_largest_forces(survey: Survey, gate: float | None) -> Chart:
    values = survey.join("largest_force")
    sizes = np.log10(np.maximum(values, _SMALLEST_FORCE))
    edges = find_edges(sizes)
    figure = stack_histogram(sizes, survey.join("source"), survey.names, edges, "")
    style(figure, "largest force in the structure, eV/Å", "structures")
    ticks = np.arange(np.floor(edges[0]), np.ceil(edges[-1]) + 1)
    figure.update_xaxes(tickvals=ticks, ticktext=[f"{10**t:g}" for t in ticks])
    figure.update_traces(hovertemplate="10^%{x:.2f} eV/Å: %{y:,} structures")
    if gate is not None and edges[0] < np.log10(gate) < edges[-1]:
        draw_limit(figure, "gate", x=float(np.log10(gate)), at="top left")
    shows = (
        "The worst atom of every structure; none may lie beyond the gate. "
        "A second hump on the right is a group of structures with atoms that are too close."
    )
    table = tabulate_values(values, survey.join("source"), survey.names, "eV/Å")
    return Chart("largest-forces", "Largest force in a structure", figure, shows + say_outside(sizes, edges), table)
