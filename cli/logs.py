"""`distillery logs`."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.app import Data, Gateway, app, run_until_signal
from cli.completion import complete_dataset
from cli.exit_codes import STOPPED
from cli.places import find_folder
from cli.terminal import say


@app.command()
def logs(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="A dataset.", autocompletion=complete_dataset)],
    gateway: Gateway = None,
    data: Data = Path("data"),
) -> None:
    """Show what happened to a dataset, a line each: from a gateway as it happens, until it stops; without one what its parts say."""
    import asyncio

    if not gateway:
        for line in _read_parts(find_folder(Path(name), data)):
            say(line)
        return
    try:
        run_until_signal(_follow(name, gateway), lambda: None)
    except asyncio.CancelledError:
        raise typer.Exit(STOPPED) from None


def _read_parts(folder: Path) -> list[str]:
    """A line a part, in the order in which they were made."""
    from distillery.dataset.folder import list_parts, part_path
    from distillery.dataset.parts import read_receipt

    receipts = sorted((read_receipt(part_path(folder, part)) for part in list_parts(folder)), key=lambda own: (own.created, own.part))
    return [
        f"{own.created}  {own.part}  {own.record.requested} asked, {own.record.generated} made, {own.n_structures} labelled, "
        f"{len(own.rejected) + len(own.record.rejected)} refused; "
        f"made in {own.record.generate_seconds:.1f} s, labelled in {own.label_seconds:.1f} s"
        for own in receipts
    ]


_CLOCKS = "since", "next_try"
"""Of a retry: moments in Unix time, which the line has already or which are over when it is read."""


async def _follow(name: str, gateway: str) -> None:
    from cli.remote import open_stream
    from distillery.http.address import find_route

    async with open_stream(gateway, f"{find_route(name)}/events") as lines:
        kind = ""
        async for line in lines:
            key, _, value = line.partition(": ")
            if key == "event":
                kind = value
            elif key == "data":
                say(_describe(kind, json.loads(value)))


def _describe(kind: str, data: dict[str, Any]) -> str:
    """For example `2026-11-29 12:00:00  shard  source=one labelled=5`."""
    moment = datetime.fromtimestamp(data.pop("time")).isoformat(" ", "seconds")
    told = " ".join(f"{key}={_shorten(value)}" for key, value in data.items() if value not in (None, [], {}, "") and key not in _CLOCKS)
    return f"{moment}  {kind}  {told}"


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else text[:200] + " …"
