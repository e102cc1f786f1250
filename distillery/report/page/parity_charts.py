"""Charts of a teacher's labels against those that the structures had before (`distillery relabel`)."""

import numpy as np
import plotly.graph_objects as go

from distillery.report.page.chart import FAINT, Chart, colour, style
from distillery.report.page.chart_tables import tabulate
from distillery.schema.disagreement import Disagreement, Parity


def chart_parity(found: Disagreement) -> list[Chart]:
    """Energies and forces, before across and after up."""
    names = list(found.sources)
    energies = (
        "Energy per atom, each teacher's after the best sum of one energy per element is taken off, as teachers count from other zeros. On "
        "the line they agree; a slope means that one sees differences as larger, a source beside the line that they disagree on its kind."
    )
    forces = "Components of forces of some atoms. A slope below one means that the new teacher's forces are softer."
    axes = (f"by {found.before}", f"by {found.after}")
    return [
        _chart("parity-energies", "Energies beyond composition", found.energies, names, axes, "eV/atom", energies),
        _chart("parity-forces", "Forces", found.forces, names, axes, "eV/Å", forces),
    ]


def _chart(name: str, title: str, parity: Parity, names: list[str], axes: tuple[str, str], unit: str, shows: str) -> Chart:
    figure, source = go.Figure(), np.array(parity.source)
    before, after = np.array(parity.before), np.array(parity.after)
    ends = [float(min(before.min(), after.min())), float(max(before.max(), after.max()))]
    figure.add_scatter(x=ends, y=ends, mode="lines", line={"color": FAINT, "width": 1}, showlegend=False, hoverinfo="skip")
    for k, own in enumerate(names):
        figure.add_scatter(
            x=before[source == k],
            y=after[source == k],
            name=own,
            mode="markers",
            marker={"color": colour(k), "size": 5, "opacity": 0.6},
            hovertemplate=f"%{{x:.3f}} before, %{{y:.3f}} {unit} now<extra>{own}</extra>",
        )
    apart = [np.abs(after - before)[source == k] for k in range(len(names))]
    columns = ([float(own.mean()) if own.size else None for own in apart], [float(own.max()) if own.size else None for own in apart])
    table = tabulate(("source", f"mean difference of those drawn, {unit}", f"largest, {unit}"), names, *columns)
    return Chart(name, title, style(figure, f"{axes[0]}, {unit}", f"{axes[1]}, {unit}", height=420), shows, table)
