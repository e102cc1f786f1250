"""`distillery run`."""

import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import Data, Gateway, app, run_until_signal
from cli.check import require_sound, use_inputs
from cli.completion import complete_recipe, complete_stage
from cli.exit_codes import ERROR, GO, NO_GO, STOPPED
from cli.places import require_writable
from cli.terminal import Console, under_way
from distillery.errors import InvalidRequest

if TYPE_CHECKING:
    from cli.live import LineView, LiveView
    from distillery.http.client import Client
    from distillery.planning.forecast import Trial
    from distillery.recipe.recipe import Recipe
    from distillery.schema.dataset import Forecast, Status


RecipeFile = Annotated[
    Path, typer.Argument(help="A recipe, YAML; recipes/quickstart.yaml explains every key.", autocompletion=complete_recipe)
]
Until = Annotated[
    str | None,
    typer.Option("--until", metavar="STAGE", help="Stop after this stage; its verdict is the result.", autocompletion=complete_stage),
]
OneStage = Annotated[
    str | None,
    typer.Option(
        "--stage", metavar="STAGE", help="Make this stage alone; those before it must be there and GO.", autocompletion=complete_stage
    ),
]
Page = Annotated[
    bool, typer.Option("--page", help="Show a live page of it on this machine while it runs; its address is printed at the start.")
]
Unchecked = Annotated[
    bool, typer.Option("--unchecked", help="Hand it in without `distillery check`: services that are not there yet are waited for.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the plan, with time and disk by the rates of the parts so far; start nothing.")
]
Probe = Annotated[
    bool,
    typer.Option("--probe", help="With --dry-run: make and label five structures of every source, and throw them away, for rates."),
]


@app.command()
def run(
    recipe: RecipeFile,
    gateway: Gateway = None,
    data: Data = Path("data"),
    until: Until = None,
    stage: OneStage = None,
    page: Page = False,
    unchecked: Unchecked = False,
    dry_run: DryRun = False,
    probe: Probe = False,
) -> None:
    """Make the dataset of a recipe, or go on with it."""
    with under_way(f"reading {recipe}"):
        from distillery.recipe.reading import read_recipe
        from distillery.recipe.target import Target
        from distillery.schema.explain import validate_message

        parsed, text = read_recipe(recipe)
    target = {name: value for name, value in (("until", until), ("stage", stage)) if value is not None}
    parsed.stages_until(validate_message(Target, target, "").last)
    if not unchecked:
        require_sound(recipe, parsed, text, gateway)
    if page and gateway:
        raise InvalidRequest(f"--page is of a run in this process; the page of {gateway} is there already: `distillery open`")
    if probe and (gateway or not dry_run):
        raise InvalidRequest("--probe makes structures in this process for a forecast: it goes with --dry-run and without --gateway")
    if dry_run:
        use_inputs(recipe.parent)
        _show_plan(gateway, data, text, target, Console(), parsed if probe else None)
        return
    flags = [flag for name, value in target.items() for flag in (f"--{name}", value)]
    again = shlex.join(["distillery", "run", str(recipe), *(["--data", str(data)] if data != Path("data") else []), *flags])
    use_inputs(recipe.parent)
    raise typer.Exit(_make(parsed, text, target, gateway, data, again, page))


def make_here(recipe: "Recipe", text: str, data: Path, again: str) -> int:
    """Make the whole of a recipe in this process, showing how far it is; the exit code. `again` is the command that goes on with it."""
    return _make(recipe, text, {}, None, data, again)


def _make(recipe: "Recipe", text: str, target: dict[str, str], gateway: str | None, data: Path, again: str, page: bool = False) -> int:
    import asyncio

    from cli.farewell import Farewell
    from cli.live import choose_view, raise_if_failed
    from distillery.dataset.folder import refuse_foreign

    if gateway is None:
        require_writable(data / recipe.name)
        refuse_foreign(data / recipe.name)
    console = Console()
    view = choose_view(console)
    show_page = (lambda address: view.say(f"live page: {address}datasets/{recipe.name}")) if page else None
    work = _run(recipe, text, view, target, gateway, lambda: _embedded(recipe, data, show_page))
    farewell = Farewell(view, data / recipe.name, again, gateway)
    try:
        with view:
            status = run_until_signal(
                work, lambda: view.stop("stopping: the shards in the making are given up …"), None if gateway else farewell.end
            )
    except asyncio.CancelledError:
        farewell.say()
        return STOPPED
    raise_if_failed(status)
    return conclude(status, console, _place(recipe.name, data, gateway))


async def _run(
    recipe: "Recipe",
    text: str,
    view: "LiveView | LineView",
    target: dict[str, str],
    gateway: str | None,
    open_here: "Callable[[], AbstractAsyncContextManager[Client]]",
) -> "Status":
    from cli.live import follow
    from cli.remote import open_remote

    view.tell(f"asking {gateway}" if gateway else f"loading teacher {recipe.teacher} and the services")
    async with open_remote(gateway) if gateway else open_here() as client:
        status = await follow(client, text, view, target)
        view.tell("ending teacher and services")
    return status


def _show_plan(gateway: str | None, data: Path, text: str, target: dict[str, str], console: Console, tried: "Recipe | None") -> None:
    """`tried` is the recipe whose sources are tried for their rates; none are if absent."""
    import asyncio

    from cli.forecast import show_forecast
    from cli.trial import try_sources

    try:
        trial = None if tried is None else try_sources(tried)
    except asyncio.CancelledError:
        raise typer.Exit(STOPPED) from None
    with under_way("reading the parts"):
        forecast = asyncio.run(_forecast(gateway, data, text, target, trial))
    show_forecast(forecast, console)


async def _forecast(gateway: str | None, data: Path, text: str, target: dict[str, str], trial: "Trial | None") -> "Forecast":
    from cli.remote import open_remote
    from cli.sessions import open_manager
    from distillery.recipe.target import Target
    from distillery.schema.dataset import Forecast

    if not gateway:
        return await open_manager(data).forecast(text, Target.model_validate(target), trial)
    async with open_remote(gateway) as client:
        return await client.ask(Forecast, "POST", "/v1/datasets/plan", content=text.encode(), params=target)


@asynccontextmanager
async def _embedded(recipe: "Recipe", data: Path, show_page: "Callable[[str], None] | None") -> "AsyncIterator[Client]":
    from cli.local import run_embedded
    from cli.sessions import settings_here

    wanted = {source.service for source in recipe.sources.values()}
    async with run_embedded(settings_here(data), recipe.teacher, wanted, show_page) as client:
        yield client


def _place(name: str, data: Path, gateway: str | None) -> str:
    return f"{gateway}/v1/datasets/{name}/files/" if gateway else f"{data / name}/"


def conclude(status: "Status", console: Console, place: str) -> int:
    """Say how a dataset ended and where its files are; the exit code."""
    from distillery.report.page.gate_table import describe_failed

    if status.state != "finished":
        console.print(f"{status.name} is {status.state}", highlight=False)
        return ERROR
    is_go = status.verdict == "GO"
    rows = status.sources.values()
    kept, wanted = sum(row.kept for row in rows), sum(row.wanted for row in rows)
    stage = f"  stage {status.stage}" if len(status.stages) > 1 else ""
    console.print(f"[bold {'green' if is_go else 'red'}]{status.verdict}[/]  {kept} of {wanted} structures{stage}", highlight=False)
    for line in describe_failed(status.failed_gates):
        console.print(f"  failed: {line}", markup=False, highlight=False, soft_wrap=True)
    if not is_go:
        console.print("  what each gate means, and what to do: docs/gates.md", highlight=False)
    console.print(f"scenario {status.scenario}", markup=False, highlight=False, soft_wrap=True)
    report = "report.html, report.json" if status.has_page else f"report.json  (no page: `distillery report {status.name}` makes one)"
    console.print(f"dataset  {place}dataset.h5\nreport   {place}{report}", markup=False, highlight=False, soft_wrap=True)
    return GO if is_go else NO_GO
