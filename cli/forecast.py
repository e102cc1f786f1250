"""What `distillery run --dry-run` prints."""

from collections.abc import Mapping

from rich.box import SIMPLE_HEAD
from rich.table import Table

from cli.terminal import Console
from distillery.report.rates import describe_seconds
from distillery.schema.dataset import Forecast, Rate, StageForecast

_COLUMNS = "yield: structures kept for each that the service is asked for; generate, label: working time for one structure"


def show_forecast(forecast: Forecast, console: Console) -> None:
    """The plan as a table of sources and stages, then time and disk of the rest and what is unknown."""
    console.print(_make_table(forecast))
    for stage in forecast.stages:
        console.print(_describe_stage(stage), markup=False, highlight=False, soft_wrap=True)
    if forecast.rates:
        console.print(_COLUMNS, markup=False, highlight=False, soft_wrap=True)
    for line in _describe_rest(forecast):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _make_table(forecast: Forecast) -> Table:
    """Structures of every source at the end of each stage, and its rates as soon as one is known; ten sources fit into 80 columns."""
    stages, rates = forecast.stages, forecast.rates
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, title="structures at a stage's end", title_justify="left")
    for heading in ("source", "service"):
        table.add_column(heading, overflow="fold", min_width=8)
    for heading in (*(stage.stage for stage in stages), *(("yield", "generate", "label") if rates else ())):
        table.add_column(heading, justify="right", no_wrap=True)
    for source, service in forecast.sources.items():
        counts = (str(stage.wanted[source]) for stage in stages)
        table.add_row(source, service, *counts, *(_describe_rate(rates.get(source)) if rates else ()))
    return table


def _describe_rate(rate: Rate | None) -> tuple[str, str, str]:
    if rate is None:
        return "?", "?", "?"
    return f"{rate.acceptance:.3g}", f"{rate.generate_seconds:.3g} s", f"{rate.label_seconds:.3g} s"


def _describe_stage(stage: StageForecast) -> str:
    waves = f" in {stage.waves} waves" if stage.waves > 1 else ""
    done = f", {stage.shards_done} of {sum(stage.shards.values())} shards are there"
    reasons = f" ({', '.join(stage.reasons)})" if stage.reasons else ""
    verdict = f": {stage.verdict}{reasons}" if stage.verdict else ""
    return f"stage {stage.stage}: {stage.n_structures} structures{waves}{done}{verdict}"


def _describe_rest(forecast: Forecast) -> list[str]:
    rest, unknown = forecast.rest, forecast.unknown
    if forecast.parts_done == forecast.parts:
        return [f"nothing is left to make to the end of stage {forecast.until}"]
    least = "at least " if unknown else ""
    lines = [_describe_calls(forecast), *_describe_unknown(unknown)]
    if forecast.rates:
        generating = ", ".join(f"{service} {describe_seconds(seconds)}" for service, seconds in rest.generate_seconds.items())
        lines += [
            f"time left: {least}about {describe_seconds(rest.seconds)} (work: teacher {describe_seconds(rest.label_seconds)}"
            f"{generating and ', '}{generating}); {forecast.assumption}",
            f"disk: {least}about {_describe_bytes(rest.parts_bytes)} for parts to come and {_describe_bytes(rest.dataset_bytes)} "
            f"for dataset.h5",
        ]
    return lines


def _describe_calls(forecast: Forecast) -> str:
    most = "at most " if forecast.unknown else "about "
    n_shards, rest = forecast.parts - forecast.parts_done, forecast.rest
    return f"to make: {n_shards} shards, {rest.n_structures:,} proposals, {most}{rest.n_calls:,} teacher calls"


def _describe_unknown(unknown: Mapping[str, str]) -> list[str]:
    """A line for each reason."""
    lines = []
    for reason in dict.fromkeys(unknown.values()):
        names = ", ".join(name for name, own in unknown.items() if own == reason)
        lines.append(f"time and disk of {names} are unknown: {reason}; the pilot shows them, or --probe")
    return lines


def _describe_bytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
