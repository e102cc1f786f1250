"""`distillery run`."""

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from cli.app import ERROR, GO, NO_GO, STOPPED, Data, Gateway, app, run_until_signal
from cli.forecast import show_forecast
from cli.live import follow, raise_if_failed
from cli.sessions import open_reader, open_remote, settings_here
from distillery.http.client import Client
from distillery.planning.gates import find_hopeless
from distillery.recipe.recipe import Recipe, read_recipe
from distillery.recipe.target import Target
from distillery.report.page.gate_table import describe_failed
from distillery.schema.dataset import Forecast, Status
from distillery.schema.explain import validate_message


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML; recipes/quickstart.yaml explains every key.")],
    gateway: Gateway = None,
    data: Data = Path("data"),
    until: Annotated[str | None, typer.Option("--until", metavar="STAGE", help="Stop after this stage; its verdict is the result.")] = None,
    stage: Annotated[
        str | None, typer.Option("--stage", metavar="STAGE", help="Make this stage alone; those before it must be there and GO.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, with time and disk by the rates of the parts so far; start nothing.")
    ] = False,
) -> None:
    """Make the dataset of a recipe, or go on with it."""
    console = Console()
    parsed, text = read_recipe(recipe)
    target = {name: value for name, value in (("until", until), ("stage", stage)) if value is not None}
    parsed.stages_until(validate_message(Target, target, "").last)
    for line in find_hopeless(parsed):
        Console(stderr=True).print(f"{recipe}: {line}", markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        show_forecast(asyncio.run(_forecast(gateway, data, text, target)), console)
        return
    session = open_remote(gateway) if gateway else _embedded(parsed, data, recipe.parent)
    flags = [flag for name, value in target.items() for flag in (f"--{name}", value)]
    again = shlex.join(["distillery", "run", str(recipe), *(["--data", str(data)] if data != Path("data") else []), *flags])
    status = _until_interrupted(_run(session, text, console, target), again, gateway)
    raise_if_failed(status)
    raise typer.Exit(_conclude(status, console, _place(parsed.name, data, gateway)))


async def _run(session: Any, text: str, console: Console, target: dict[str, str]) -> Status:
    async with session as client:
        return await follow(client, text, console, target)


async def _forecast(gateway: str | None, data: Path, text: str, target: dict[str, str]) -> Forecast:
    async with open_remote(gateway) if gateway else open_reader(data) as client:
        return await client.ask(Forecast, "POST", "/v1/datasets/plan", content=text.encode(), params=target)


@asynccontextmanager
async def _embedded(recipe: Recipe, data: Path, inputs: Path) -> AsyncIterator[Client]:
    from cli.local import run_embedded

    os.environ.setdefault("DISTILLERY_SERVICE_INPUTS", str(inputs.resolve()))
    wanted = {source.service for source in recipe.sources.values()}
    async with run_embedded(settings_here(data), recipe.teacher, wanted) as client:
        yield client


def _until_interrupted(work: Coroutine[Any, Any, Status], again: str, gateway: str | None) -> Status:
    """Run `work`; at Ctrl-C (or SIGTERM) stop it cleanly and say how to go on."""
    try:
        return run_until_signal(work)
    except asyncio.CancelledError:
        where = (
            f"The gateway goes on with it. `{again} --gateway {gateway}` shows it again."
            if gateway
            else f"Nothing is lost. `{again}` goes on."
        )
        print(f"\nStopped. {where}", file=sys.stderr)
        raise typer.Exit(STOPPED) from None


def _place(name: str, data: Path, gateway: str | None) -> str:
    return f"{gateway}/v1/datasets/{name}/files/" if gateway else f"{data / name}/"


def _conclude(status: Status, console: Console, place: str) -> int:
    if status.state != "finished":
        console.print(f"{status.name} is {status.state}", highlight=False)
        return ERROR
    is_go = status.verdict == "GO"
    rows = status.sources.values()
    kept, wanted = sum(row.kept for row in rows), sum(row.wanted for row in rows)
    stage = f"  stage {status.stage}" if len(status.stages) > 1 else ""
    console.print(f"[bold {'green' if is_go else 'red'}]{status.verdict}[/]  {kept} of {wanted} structures{stage}", highlight=False)
    for line in describe_failed(status.failed_gates):
        console.print(f"  failed: {line}", highlight=False, soft_wrap=True)
    if not is_go:
        console.print("  what each gate means, and what to do: docs/gates.md", highlight=False)
    console.print(f"scenario {status.scenario}", markup=False, highlight=False, soft_wrap=True)
    report = "report.html, report.json" if status.has_page else f"report.json  (no page: `distillery report {status.name}` makes one)"
    console.print(f"dataset  {place}dataset.h5\nreport   {place}{report}", highlight=False, soft_wrap=True)
    return GO if is_go else NO_GO
