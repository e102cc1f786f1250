"""Charts and rows of how the dataset was made: refusals by reason, time per structure."""

from collections import Counter
from collections.abc import Mapping
from html import escape
from typing import Any

import plotly.graph_objects as go

from distillery.planning.measures import Measures, SourceMeasures
from distillery.report.page.chart import Chart, colour, style
from distillery.report.page.chart_tables import tabulate

_MOST_REASONS = 20


def chart_making(measures: Measures) -> list[Chart]:
    """Rejections by reason, time per structure."""
    return [_chart_rejections(measures), _chart_times(measures)]


def list_yields(measures: Measures, wanted: Mapping[str, int]) -> list[dict[str, Any]]:
    """One row a source, from what was asked for to what is in the dataset, with rates and times."""
    return [{"source": name, "wanted": wanted[name], **_describe_yield(own)} for name, own in measures.sources.items()]


def _describe_yield(own: SourceMeasures) -> dict[str, Any]:
    return {
        "asked": own.requested,
        "generated": own.generated,
        "labelled": own.labelled,
        "kept": own.kept,
        "rejected": sum(own.rejected.values()),
        "made_by": ", ".join(sorted(own.makers)),
        "generated_a_second": _write_rate(own.generated, own.generate_seconds),
        "labelled_a_second": _write_rate(own.labelled, own.label_seconds),
        "generating": write_duration(own.generate_seconds),
        "labelling": write_duration(own.label_seconds),
        "notes": sorted(own.notes),
    }


def _write_rate(n: int, seconds: float) -> str:
    return f"{n / seconds:.3g}" if seconds else "–"


def write_duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def _chart_rejections(measures: Measures) -> Chart:
    total: Counter[str] = Counter()
    for own in measures.sources.values():
        total.update(own.rejected)
    reasons = [reason for reason, count in sorted(total.items(), key=lambda item: (-item[1], item[0])) if count]
    shown = reasons[:_MOST_REASONS]
    figure = go.Figure()
    for k, (name, own) in enumerate(measures.sources.items()):
        figure.add_bar(
            y=[escape(reason) for reason in shown],
            x=[own.rejected[reason] for reason in shown],
            orientation="h",
            name=name,
            marker={"color": colour(k)},
            hovertemplate=f"%{{y}}: %{{x:,}}<extra>{name}</extra>",
        )
    style(figure, "attempts or structures", "", height=max(240, 130 + 24 * len(shown)), barmode="stack")
    figure.update_yaxes(autorange="reversed")
    left = f" The {len(reasons) - _MOST_REASONS} rarest reasons are left off." if len(reasons) > _MOST_REASONS else ""
    shows = (
        "Where and why: “generation” are attempts that a source gave up itself, “curation” the checks before labelling, "
        "“label” what the teacher could not do, “dataset” duplicates, energies far off and surplus left out at the end. "
        "A bar much longer than the rest is worth a look at its source."
    )
    table = tabulate(("reason", *measures.sources), shown, *([own.rejected[r] for r in shown] for own in measures.sources.values()))
    return Chart("rejections", "What was refused", figure, shows + left if shown else "Nothing was refused.", table, is_wide=True)


def _chart_times(measures: Measures) -> Chart:
    names = list(measures.sources)
    figure, columns = go.Figure(), []
    for step, seconds, count, tint in (
        ("to generate", "generate_seconds", "generated", "#b9c9de"),
        ("to label", "label_seconds", "labelled", colour(0)),
    ):
        own = [getattr(measures.sources[n], seconds) / max(getattr(measures.sources[n], count), 1) for n in names]
        columns.append(own)
        figure.add_bar(
            x=[round(v, 5) for v in own],
            y=names,
            orientation="h",
            name=step,
            marker={"color": tint},
            hovertemplate=f"%{{y}}: %{{x:.3g}} s {step}<extra></extra>",
        )
    style(figure, "time per structure, s", "", height=150 + 34 * len(names), barmode="stack")
    figure.update_yaxes(autorange="reversed")
    shows = "Wall time of the requests over the structures they gave. It says which source, and which of the two steps, the time goes to."
    table = tabulate(("source", "to generate, s", "to label, s"), names, *columns)
    return Chart("times", "Time per structure", figure, shows, table, is_wide=True)
