"""`distillery status`."""

import asyncio
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table

from cli.app import Data, Gateway, app
from cli.live import describe_place, describe_row, tell_checkpoint
from cli.sessions import open_reader, open_remote
from distillery.http.client import Client
from distillery.report.page.gate_table import describe_failed
from distillery.schema.dataset import Status


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="One dataset; all if absent.")] = None,
    gateway: Gateway = None,
    data: Data = Path("data"),
) -> None:
    """Show how far datasets are."""
    found = asyncio.run(_ask_status(name, gateway, data))
    console = Console()
    if not found:
        console.print("there are no datasets yet; `distillery run recipes/quickstart.yaml` makes one")
    for one in found:
        _show_status(one, console)


async def _ask_status(name: str | None, gateway: str | None, data: Path) -> list[Status]:
    async with open_remote(gateway) if gateway else open_reader(data) as client:
        if name:
            return [await client.ask(Status, "GET", f"/v1/datasets/{quote(name, safe='')}")]
        return await list_statuses(client)


async def list_statuses(client: Client, limit: int = 100) -> list[Status]:
    """All datasets, asked for so many at a time."""
    found: list[Status] = []
    path: str | None = f"/v1/datasets?limit={limit}"
    while path is not None:
        answer = await client.send("GET", path)
        found += client.parse(list[Status], answer.content)
        path = answer.links.get("next", {}).get("url")
    return found


def _show_status(one: Status, console: Console) -> None:
    verdict = f"  {one.verdict}" if one.verdict else ""
    stage = f"  stage {describe_place(one)}" if len(one.stages) > 1 else ""
    console.print(f"[bold]{one.name}[/bold]  {one.state}{verdict}{stage}  round {one.round}  teacher {one.teacher}", highlight=False)
    lines = [one.problem.detail] if one.problem else _list_news(one)
    if lines:
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=one.problem is None)
    table = Table("source", "wanted", "labelled", "shards", "notes")
    for source, row in one.sources.items():
        table.add_row(source, str(row.wanted), str(row.labelled), f"{row.shards_done}/{row.shards}", describe_row(row))
    console.print(table)


def _list_news(one: Status) -> list[str]:
    lines = [tell_checkpoint(checkpoint) for checkpoint in one.checkpoints if len(one.stages) > 1]
    lines += [f"failed: {line}" for line in describe_failed(one.failed_gates)]
    lines += [one.doing] if one.doing else []
    return lines + ([f"scenario {one.scenario}"] if one.state == "finished" else [])
