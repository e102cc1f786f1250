"""The `distillery` command."""

import asyncio
import logging
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from contract.problems import InvalidRequest, Problem
from gateway import export as exporting
from gateway.follow import Status, ask, describe_row, follow, raise_if_failed
from gateway.recipe import Recipe, read_recipe
from gateway.settings import GatewaySettings

GO, ERROR, NO_GO, STOPPED = 0, 1, 3, 130

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""**Distillery** makes labelled datasets for force-field distillation: a recipe goes in,
one HDF5 file and a GO / NO-GO verdict come out.

Begin with `distillery run recipes/quickstart.yaml`. It can be stopped or killed at any moment; the same command goes
on where it was. The dataset is `data/<name>/dataset.h5`, the verdict `data/<name>/report.json`.

Exit codes: 0 GO, 3 NO-GO, 1 error, 130 stopped by Ctrl-C.""",
)

Gateway = Annotated[
    str | None,
    typer.Option(
        "--gateway",
        envvar="DISTILLERY_GATEWAY",
        metavar="URL",
        help="A running gateway (its API key, if it has one, in DISTILLERY_API_KEY). Without it everything runs in this process.",
    ),
]
Data = Annotated[Path, typer.Option("--data", help="Folder of the datasets, for runs in this process.")]


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML; recipes/quickstart.yaml explains every key.")],
    gateway: Gateway = None,
    data: Data = Path("data"),
) -> None:
    """Make the dataset of a recipe, or go on with it."""
    console = Console()
    parsed, text = read_recipe(recipe)
    session = _remote(gateway) if gateway else _embedded(parsed, data, recipe.parent)
    again = shlex.join(["distillery", "run", str(recipe), *(["--data", str(data)] if data != Path("data") else [])])
    status = _until_interrupted(_run(session, text, console), again, gateway)
    raise_if_failed(status)
    raise typer.Exit(_conclude(status, console, _place(parsed.name, data, gateway)))


@app.command()
def services(gateway: Gateway = None, name: Annotated[str | None, typer.Argument(help="Show one service and its options.")] = None) -> None:
    """Show which services there are, what they make, and their options."""
    from gateway.embedded import list_services

    cards = asyncio.run(_ask_services([name] if name else list_services(), gateway))
    console = Console()
    if name:
        _show_service(cards[name], console)
        return
    table = Table("service", "makes", "atoms", "version", "method")
    for service, card in cards.items():
        if isinstance(card, Problem):
            table.add_row(service, f"[red]{card.kind}[/red]", "", "", card.detail)
            continue
        systems = card["systems"]
        sizes = ", ".join(f"{s['default_min_atoms']}-{s['default_max_atoms']}" for s in systems.values())
        table.add_row(service, ", ".join(systems), sizes, card["version"], card["method"])
    console.print(table)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="One dataset; all if absent.")] = None,
    gateway: Gateway = None,
    data: Data = Path("data"),
) -> None:
    """Show where datasets stand."""
    found = asyncio.run(_ask_status(name, gateway, data))
    console = Console()
    if not found:
        console.print("there are no datasets yet; `distillery run recipes/quickstart.yaml` makes one")
    for one in found:
        _show_status(one, console)


@app.command()
def export(
    dataset: Annotated[Path, typer.Argument(help="A dataset.h5.")],
    to: Annotated[str, typer.Option("--to", help=f"{' or '.join(exporting.FORMATS)}.")],
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; beside the dataset if absent.")] = None,
    mace: Annotated[
        bool, typer.Option("--mace", help="extxyz: name the labels REF_energy, REF_forces, REF_stress, as MACE reads them.")
    ] = False,
) -> None:
    """Write a dataset as extended XYZ (ASE reads it back with its labels) or as an ASE database."""
    if to not in exporting.FORMATS:
        raise InvalidRequest(f"--to must be one of {', '.join(exporting.FORMATS)}; got {to!r}")
    if mace and to != "extxyz":
        raise InvalidRequest("--mace goes with --to extxyz only")
    target = out or dataset.with_suffix(exporting.SUFFIXES[to])
    if to == "extxyz":
        n = exporting.export_extxyz(dataset, target, mace_keys=mace)
    else:
        n = exporting.export_ase_db(dataset, target)
    Console().print(f"{n} structures written to {target}", highlight=False)


def main() -> None:
    """Run the command; a Problem becomes one clear message and exit code 1."""
    logging.basicConfig(level=os.environ.get("DISTILLERY_LOG", "ERROR"), format="%(levelname)s %(name)s: %(message)s")
    try:
        app()
    except Problem as problem:
        Console(stderr=True).print(f"[red]{problem.title}.[/red]", end=" ")
        print(problem.detail, file=sys.stderr)
        sys.exit(ERROR)


async def _run(session: Any, text: str, console: Console) -> Status:
    async with session as client:
        return await follow(client, text, console)


@asynccontextmanager
async def _remote(gateway: str) -> AsyncIterator[httpx.AsyncClient]:
    key = os.environ.get("DISTILLERY_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=gateway, headers=headers, timeout=httpx.Timeout(60, connect=5)) as client:
        yield client


@asynccontextmanager
async def _embedded(recipe: Recipe, data: Path, inputs: Path) -> AsyncIterator[httpx.AsyncClient]:
    from gateway.embedded import run_embedded

    os.environ.setdefault("DISTILLERY_SERVICE_INPUTS", str(inputs.resolve()))
    wanted = {source.service for source in recipe.sources.values()}
    settings = GatewaySettings(data=data, resume=False, api_key=None, published="127.0.0.1")
    async with run_embedded(settings, recipe.teacher, wanted) as client:
        yield client


def _until_interrupted(work: Coroutine[Any, Any, Status], again: str, gateway: str | None) -> Status:
    """Run `work`; at Ctrl-C (or SIGTERM) stop it cleanly and say how to go on."""

    async def watch() -> Status:
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, task.cancel)
        return await task

    try:
        return asyncio.run(watch())
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
    if status["state"] != "finished":
        console.print(f"{status['name']} is {status['state']}", highlight=False)
        return ERROR
    is_go = status["verdict"] == "GO"
    kept, wanted = (sum(row[key] for row in status["sources"].values()) for key in ("kept", "wanted"))
    console.print(f"[bold {'green' if is_go else 'red'}]{status['verdict']}[/]  {kept} of {wanted} structures", highlight=False)
    for reason in status["reasons"]:
        console.print(f"  failed: {reason}", highlight=False)
    console.print(f"dataset  {place}dataset.h5\nreport   {place}report.json", highlight=False, soft_wrap=True)
    return GO if is_go else NO_GO


async def _ask_services(names: list[str], gateway: str | None) -> dict[str, Any]:
    cards: dict[str, Any] = {}
    for name in names:
        try:
            cards[name] = await _ask_service(name, gateway)
        except Problem as problem:
            if len(names) == 1:
                raise
            cards[name] = problem
    return cards


async def _ask_service(name: str, gateway: str | None) -> Any:
    from gateway.embedded import build_service, open_client

    if gateway:
        async with _remote(gateway) as client:
            return (await ask(client, "GET", f"/v1/services/{name}")).json()
    async with open_client(build_service(name), name, httpx.Timeout(60)) as client:
        return (await ask(client, "GET", "/v1/metadata")).json()


def _show_service(card: dict[str, Any], console: Console) -> None:
    console.print(f"[bold]{card['service']} {card['version']}[/bold]  {card['method']}\nlicence: {card['licence']}", highlight=False)
    for system, limits in card["systems"].items():
        console.print(
            f"\n[bold]{system}[/bold]  {limits['min_atoms']}-{limits['max_atoms']} atoms "
            f"(default {limits['default_min_atoms']}-{limits['default_max_atoms']})  elements {' '.join(limits['elements'])}",
            highlight=False,
        )
        table = Table("option", "default", "meaning")
        for option, schema in limits["options_schema"].get("properties", {}).items():
            table.add_row(option, str(schema.get("default", "required")), schema.get("description", ""))
        console.print(table)


async def _ask_status(name: str | None, gateway: str | None, data: Path) -> list[Status]:
    from gateway.api import create_gateway
    from gateway.embedded import open_client

    settings = GatewaySettings(data=data, resume=False, api_key=None, published="127.0.0.1")
    session = _remote(gateway) if gateway else open_client(create_gateway(settings), "gateway", httpx.Timeout(60))
    async with session as client:
        answer = (await ask(client, "GET", "/v1/datasets" + (f"/{name}" if name else ""))).json()
    return [answer] if name else list(answer)


def _show_status(one: Status, console: Console) -> None:
    verdict = f"  {one['verdict']}" if one["verdict"] else ""
    console.print(f"[bold]{one['name']}[/bold]  {one['state']}{verdict}  round {one['round']}  teacher {one['teacher']}", highlight=False)
    if one["problem"]:
        console.print(one["problem"]["detail"], markup=False, highlight=False)
    table = Table("source", "wanted", "labelled", "shards", "notes")
    for source, row in one["sources"].items():
        table.add_row(source, str(row["wanted"]), str(row["labelled"]), f"{row['shards_done']}/{row['shards']}", describe_row(row))
    console.print(table)
