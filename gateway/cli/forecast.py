"""What `distillery run --dry-run` prints."""

from typing import Any

from rich.console import Console
from rich.table import Table

from gateway.follow import describe_seconds


def show_forecast(forecast: dict[str, Any], console: Console) -> None:
    """The plan as a table of sources and stages, then time and disk of the rest and what is unknown."""
    stages = [stage["stage"] for stage in forecast["stages"]]
    table = Table("source", "service", *stages, "usable", "generate", "label", caption="structures at a stage's end (new shards in it)")
    for source, service in forecast["sources"].items():
        counts = (f"{stage['wanted'][source]} ({stage['shards'].get(source, 0)})" for stage in forecast["stages"])
        table.add_row(source, service, *counts, *_describe_rate(forecast["rates"].get(source)))
    console.print(table)
    for stage in forecast["stages"]:
        console.print(_describe_stage(stage), markup=False, highlight=False)
    for line in _describe_rest(forecast):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _describe_rate(rate: dict[str, Any] | None) -> tuple[str, str, str]:
    if rate is None:
        return "?", "?", "?"
    return f"{rate['acceptance']:.0%}", f"{rate['generate_seconds']:.3g} s", f"{rate['label_seconds']:.3g} s"


def _describe_stage(stage: dict[str, Any]) -> str:
    waves = f" in {stage['waves']} waves" if stage["waves"] > 1 else ""
    done = f", {stage['shards_done']} of {sum(stage['shards'].values())} shards are there"
    reasons = f" ({', '.join(stage['reasons'])})" if stage["reasons"] else ""
    verdict = f": {stage['verdict']}{reasons}" if stage["verdict"] else ""
    return f"stage {stage['stage']}: {stage['n_structures']} structures{waves}{done}{verdict}"


def _describe_rest(forecast: dict[str, Any]) -> list[str]:
    rest, unknown = forecast["rest"], forecast["unknown"]
    if forecast["parts_done"] == forecast["parts"]:
        return [f"nothing is left to make to the end of stage {forecast['until']}"]
    least = "at least " if unknown else ""
    lines = [f"time and disk of {name} are unknown: {why}; the pilot shows them" for name, why in unknown.items()]
    if forecast["rates"]:
        slowest = max(rest["generate_seconds"].items(), key=lambda item: item[1], default=("", 0.0))
        lines += [
            f"time left: {least}about {describe_seconds(rest['seconds'])} (labelling {describe_seconds(rest['label_seconds'])}, "
            f"generating at most {describe_seconds(slowest[1])} on {slowest[0] or 'no service'}); {forecast['assumption']}",
            f"disk: {least}about {_describe_bytes(rest['parts_bytes'])} for parts to come and {_describe_bytes(rest['dataset_bytes'])} "
            f"for dataset.h5",
        ]
    return lines


def _describe_bytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.1f} MB"
