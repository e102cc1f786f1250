"""`distillery status`."""

import asyncio
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.app import Data, Gateway, app
from gateway.cli.sessions import open_remote
from gateway.follow import Status, ask, describe_row
from gateway.settings import GatewaySettings


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


async def _ask_status(name: str | None, gateway: str | None, data: Path) -> list[Status]:
    from gateway.api import create_gateway
    from gateway.embedded import open_client

    settings = GatewaySettings(data=data, resume=False, api_key=None, published="127.0.0.1")
    session = open_remote(gateway) if gateway else open_client(create_gateway(settings), "gateway", httpx.Timeout(60))
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
