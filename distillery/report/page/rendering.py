"""The page's templates, styles and scripts, put into one file that loads nothing."""

import json
from pathlib import Path
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.io import to_json
from plotly.offline import get_plotlyjs_version

from distillery.report.page.chart import Chart
from distillery.report.page.chart_tables import write_value
from distillery.report.page.gate_table import write_number

_HERE = Path(__file__).parent
_STYLES = ("style.css", "gallery.css", "print.css")
_SCRIPTS = ("copy.js", "charts.js", "geometry.js", "viewer.js", "map.js", "thumbnails.js", "gallery.js")
"""In this order: each uses only what those before it define."""
_VIEWER, _VIEWER_LICENCE = "vendored/3Dmol-min.js", "vendored/3Dmol-LICENSE.txt"
PLOTLY = "vendored/plotly-cartesian.min.js"
"""Of the release that plotly brings whole; a third of its size, and all that our charts need."""


def embed_figures(charts: list[Chart]) -> Markup:
    """All figures as one JSON object that is safe within a script element."""
    figures = ",".join(f"{json.dumps(chart.name)}:{to_json(chart.figure)}" for chart in charts)
    return htmlsafe_json_dumps(None, dumps=lambda _: f"{{{figures}}}")


def render(context: dict[str, Any]) -> str:
    """The HTML of what was found."""
    loader = jinja2.PackageLoader("distillery.report.page", ".")
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters |= {"number": write_number, "value": write_value}
    return environment.get_template("report.html.j2").render(
        **context,
        css=_join("", _STYLES),
        scripts=_join("scripts/", _SCRIPTS),
        plotly=Markup(_read(PLOTLY)),
        plotly_version=get_plotlyjs_version(),
        viewer=Markup(_read(_VIEWER)),
        viewer_licence=_read(_VIEWER_LICENCE),
    )


def _join(folder: str, names: tuple[str, ...]) -> Markup:
    return Markup("\n".join(_read(folder + name) for name in names))


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")
