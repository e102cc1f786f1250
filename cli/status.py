"""`distillery status`."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.app import Data, Gateway, app
from cli.live import Status, describe_place, describe_row, tell_checkpoint
from cli.sessions import open_reader, open_remote
from distillery.report.page.gate_table import describe_failed


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
    async with open_remote(gateway) if gateway else open_reader(data) as client:
        answer = (await client.send("GET", "/v1/datasets" + (f"/{name}" if name else ""))).json()
    return [answer] if name else list(answer)


def _show_status(one: Status, console: Console) -> None:
    verdict = f"  {one['verdict']}" if one["verdict"] else ""
    stage = f"  stage {describe_place(one)}" if len(one.get("stages", ())) > 1 else ""
    console.print(
        f"[bold]{one['name']}[/bold]  {one['state']}{verdict}{stage}  round {one['round']}  teacher {one['teacher']}", highlight=False
    )
    if one["problem"]:
        console.print(one["problem"]["detail"], markup=False, highlight=False)
    else:
        lines = [tell_checkpoint(checkpoint) for checkpoint in one["checkpoints"] if len(one["stages"]) > 1]
        lines += [f"failed: {line}" for line in describe_failed(one["failed_gates"])]
        lines += [one["doing"]] if one["doing"] else []
        lines += [f"scenario {one['scenario']}"] if one["state"] == "finished" else []
        if lines:
            console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    table = Table("source", "wanted", "labelled", "shards", "notes")
    for source, row in one["sources"].items():
        table.add_row(source, str(row["wanted"]), str(row["labelled"]), f"{row['shards_done']}/{row['shards']}", describe_row(row))
    console.print(table)
