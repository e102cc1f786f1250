"""Charts: plotly figures in one style, each with the sentences that explain it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from distillery.report.page.chart_tables import Table

COLOURS = ("#3f74b8", "#e0862b", "#3f9a5f", "#b8473d", "#8569b3", "#8a6a4f", "#d17ab5", "#7a8a99", "#b3a72c", "#35a3b5")
INK, FAINT, GRID, ALARM = "#26303a", "#6b7681", "#e6e9ed", "#b8473d"
MARK = "#7a8794"
"""Of marks that must be seen on white and on dark; the page's style gives text and lines of the grid the colours of its mode."""
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_N_BINS = 70
_TAIL = 0.001
"""Share of the values left off at each end of an axis, so that a few outliers do not flatten the picture."""

Values = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Chart:
    """A picture.

    name    of its place in the page
    title   what is drawn
    shows   how to read it and what to look for
    table   its numbers, for those who can't see the picture
    is_wide  True if it takes the page's whole width
    """

    name: str
    title: str
    figure: go.Figure
    shows: str
    table: Table
    is_wide: bool = False


def colour(k: int) -> str:
    """The colour of source number k, the same in all charts."""
    return COLOURS[k % len(COLOURS)]


def style(figure: go.Figure, x: str, y: str, height: int = 340, **layout: Any) -> go.Figure:
    """Give a figure the page's look and its axes their titles (with units)."""
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": FAINT, "ticks": "outside", "tickcolor": GRID, "automargin": True}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 60, "r": 16, "t": 36, "b": 50},
        font={"family": _FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "traceorder": "normal", "font": {"size": 12}},
        hoverlabel={"font": {"family": _FONT, "size": 12}},
        bargap=0.25,
        **layout,
    )
    figure.update_xaxes(title={"text": x, "standoff": 8, "font": {"size": 13}}, **axis)
    figure.update_yaxes(title={"text": y, "standoff": 8, "font": {"size": 13}}, **axis)
    return figure


def draw_map(
    columns: Sequence[str], rows: Sequence[str], percent: Values, *, hover: str, height: int, x: str, y: str = "", **scale: Any
) -> go.Figure:
    """A map of percentages with a number in each field, the first row on top; `percent` has the shape (n_rows, n_columns)."""
    figure = go.Figure(
        go.Heatmap(
            x=list(columns),
            y=list(rows),
            z=percent,
            colorscale="Blues",
            zmin=0,
            texttemplate="%{z:.0f}",
            hovertemplate=f"{hover}<extra></extra>",
            colorbar={"title": {"text": "%"}, "thickness": 12, "outlinewidth": 0},
            xgap=2,
            ygap=2,
            **scale,
        )
    )
    style(figure, x, y, height=height)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_xaxes(showgrid=False)
    return figure


def find_edges(values: Values) -> Values:
    """Edges of 70 bins over all but the outermost values, shape (71,)."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.linspace(0.0, 1.0, _N_BINS + 1)
    low, high = (float(q) for q in np.quantile(finite, [_TAIL, 1 - _TAIL]))
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    edge = 0.02 * (high - low)
    return np.linspace(low - edge, high + edge, _N_BINS + 1)


def find_size_edges(sizes: NDArray[np.int32]) -> Values:
    """Bin edges for numbers of atoms: whole bins of 1, 2, 5, 10, … atoms, at most 80 of them."""
    low, high = (int(sizes.min()), int(sizes.max())) if sizes.size else (0, 1)
    width = next(w for w in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if (high - low) / w < 80 or w == 1000)
    start = low // width * width
    return np.arange(start, high + 2 * width, width, dtype=np.float64) - 0.5


def count_outside(values: Values, edges: Values) -> int:
    """How many finite values the axis leaves off."""
    finite = values[np.isfinite(values)]
    return int(((finite < edges[0]) | (finite > edges[-1])).sum())


def say_outside(values: Values, edges: Values) -> str:
    """A sentence on what the axis leaves off; empty if nothing."""
    n = count_outside(values, edges)
    return f" Off the ends of the axis: {n:,}." if n else ""


def stack_histogram(values: Values, source: NDArray[np.int16], names: Sequence[str], edges: Values, unit: str) -> go.Figure:
    """Structures by value, the sources stacked; binned here, so that the page holds counts and not points."""
    figure = go.Figure()
    for k, name in enumerate(names):
        own = values[source == k]
        counts, _ = np.histogram(own[np.isfinite(own)], edges)
        if counts.any():
            figure.add_bar(
                x=np.round((edges[1:] + edges[:-1]) / 2, 6),
                y=counts,
                width=float(edges[1] - edges[0]),
                name=name,
                marker={"color": colour(k), "line": {"width": 0}},
                hovertemplate=f"%{{x:.4g}} {unit}: %{{y:,}} structures<extra>{name}</extra>",
            )
    figure.update_layout(barmode="stack")
    return figure


def draw_limit(figure: go.Figure, text: str, x: float | None = None, y: float | None = None, at: str = "top right") -> None:
    """A dashed line across the chart at x or y, its text beside it."""
    line: dict[str, Any] = {
        "line": {"color": ALARM, "width": 1.2, "dash": "dash"},
        "annotation": {"text": text, "font": {"size": 11, "color": ALARM}},
    }
    if x is not None:
        figure.add_vline(x=x, annotation_position=at, **line)
    if y is not None:
        figure.add_hline(y=y, annotation_position=at, **line)
