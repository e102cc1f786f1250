"""Charts of structural diversity."""

import numpy as np
import plotly.graph_objects as go

from distillery.report.diversity import Diversity
from distillery.report.page.chart import Chart, colour, draw_limit, draw_map, style
from distillery.report.page.chart_tables import tabulate

_OTHERS = "all others"


def chart_diversity(diversity: Diversity, names: list[str]) -> list[Chart]:
    """Entropy of environments by source, overlap between sources; none where every sample is too small."""
    if not diversity.entropy:
        return []
    return [_chart_entropy(diversity, names), _chart_coverage(diversity)]


def _chart_entropy(diversity: Diversity, names: list[str]) -> Chart:
    figure = go.Figure()
    figure.add_bar(
        y=list(diversity.entropy),
        x=list(diversity.entropy.values()),
        orientation="h",
        marker={"color": [colour(names.index(name)) for name in diversity.entropy]},
        hovertemplate="%{y}: %{x:.2f} nats<extra></extra>",
    )
    style(figure, "entropy of the environments, nats", "", height=150 + 34 * len(diversity.entropy), showlegend=False)
    draw_limit(figure, "all different", x=diversity.ceiling, at="top")
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(range=[0, 1.1 * diversity.ceiling])
    shows = (
        f"0 if all atoms of a source have the same surroundings, {diversity.ceiling:.2f} if no two of the {diversity.n_environments:,} do. "
        "One nat more is 2.7 times as many different environments. A short bar is a source that repeats itself."
    )
    table = tabulate(("source", "entropy, nats"), diversity.entropy, diversity.entropy.values())
    return Chart("environments", "Different environments in a source", figure, shows, table)


def _chart_coverage(diversity: Diversity) -> Chart:
    names = list(diversity.coverage)
    others = [_OTHERS] if diversity.covered_by_others else []
    z = [[*(row[b] for b in names), *([diversity.covered_by_others[a]] if others else [])] for a, row in diversity.coverage.items()]
    percent = np.round(100 * np.array(z), 1)
    figure = draw_map(
        [*names, *others],
        names,
        percent,
        hover="%{z:.1f} % of the environments of %{y} occur in %{x} too",
        x="… occur in the sample of",
        y="environments of …",
        height=170 + 34 * len(names),
        zmax=100,
    )
    shows = (
        "Read along a row: how much of this source the others have too. A high last column means that it adds little that is new; "
        "the diagonal (one half of a source's sample against the other) says how well the sample itself covers the source."
    )
    table = tabulate(("environments of", *(f"in {name} too, %" for name in (*names, *others))), names, *percent.T)
    return Chart("coverage", "Overlap between sources", figure, shows, table)
