"""`distillery status`."""

import contextlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.text import Text

from cli.app import Data, Gateway, app
from cli.completion import complete_dataset
from cli.places import find_folder
from cli.terminal import Console, can_redraw, under_way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from distillery.http.client import Client
    from distillery.schema.dataset import Status

_WATCH_SECONDS = 1.0
_NARROW = 72
"""Columns: on a terminal with fewer, tables would cut off their numbers, and lines stand in their place."""


@app.command()
def status(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET",
            help="One dataset: its name, its folder or its dataset.h5; if absent all, a line each.",
            autocompletion=complete_dataset,
        ),
    ] = None,
    gateway: Gateway = None,
    data: Data = Path("data"),
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list of statuses, as of the gateway; with --watch a line each.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it anew every second until nothing is being made.")] = False,
) -> None:
    """Show how far datasets are."""
    if name and not gateway:
        folder = find_folder(Path(name), data).resolve()
        name, data = folder.name, folder.parent
    if watch:
        _watch(name, gateway, data, as_json)
        return
    with under_way("reading the parts"):
        found = _find(name, gateway, data)
    if as_json:
        print(json.dumps([one.model_dump(mode="json") for one in found], indent=2))
        return
    console = Console()
    if not found:
        console.print("there are no datasets yet; `distillery run recipes/quickstart.yaml` makes one")
    show(found, console)
    if not gateway:
        _warn_of_disk(data, console)


def _warn_of_disk(data: Path, console: Console) -> None:
    """Say so where a run stands for want of room: it can't leave a word of it itself."""
    import shutil

    from distillery.runtime.disk import is_nearly_full, say_bytes

    if data.is_dir() and is_nearly_full((disk := shutil.disk_usage(data)).free, disk.total):
        console.print(f"The disk of {data} is nearly full: {say_bytes(disk.free)} are left; free some space there", soft_wrap=True)


def _find(name: str | None, gateway: str | None, data: Path) -> "list[Status]":
    if not gateway and (told := _read_told(name, data)) is not None:
        return told
    import asyncio

    return asyncio.run(_ask_status(name, gateway) if gateway else _read_status(name, data))


def _watch(name: str | None, gateway: str | None, data: Path, as_json: bool) -> None:
    """Show it until nothing is being made, or Ctrl-C."""
    with contextlib.suppress(KeyboardInterrupt), _choose_display(Console(), as_json) as display:
        while True:
            found = _find(name, gateway, data)
            display(found)
            if all(one.state != "running" for one in found):
                return
            time.sleep(_WATCH_SECONDS)


@contextlib.contextmanager
def _choose_display(console: Console, as_json: bool) -> "Iterator[Callable[[list[Status]], None]]":
    """What shows statuses: in place where lines can be written anew; elsewhere, and as JSON, once more whenever they change."""

    def write(found: "list[Status]") -> str:
        if as_json:
            return json.dumps([one.model_dump(mode="json") for one in found]) + "\n"
        with console.capture() as shown:
            show(found, console)
        return shown.get()

    if can_redraw(console) and not as_json:
        from rich.live import Live

        with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
            yield lambda found: live.update(Text.from_ansi(write(found)), refresh=True)
        return
    last = ""

    def display(found: "list[Status]") -> None:
        nonlocal last
        if (text := write(found)) != last:
            last = text
            print(text, end="", flush=True)

    yield display


async def _ask_status(name: str | None, gateway: str) -> "list[Status]":
    from cli.remote import open_remote
    from distillery.http.address import find_route
    from distillery.schema.dataset import Status

    async with open_remote(gateway) as client:
        if name:
            return [await client.ask(Status, "GET", find_route(name))]
        return await list_statuses(client)


async def _read_status(name: str | None, data: Path) -> "list[Status]":
    """What a gateway would say, without its app: that takes longer to import than all this does to read."""
    from gateway.dataset_statuses import DatasetStatuses
    from gateway.store import Store

    statuses = DatasetStatuses(Store(data), {})
    return [await statuses.tell(name)] if name else list(await statuses.list_all())


def _read_told(name: str | None, data: Path) -> "list[Status] | None":
    """The datasets by their reports and last statuses alone, without all that reads parts; None if one has neither, or can't be read."""
    from distillery.errors import Problem
    from gateway.last_status import read_last_status
    from gateway.store import Store

    store = Store(data)
    try:
        datasets = [store.locate(one) for one in ([name] if name else store.list_names())]
        told = [store.tell_finished(dataset) or read_last_status(dataset) for dataset in datasets]
    except Problem:
        return None
    known = [one for one in told if one is not None]
    return known if len(known) == len(told) else None


async def list_statuses(client: "Client", limit: int = 100) -> "list[Status]":
    """All datasets, asked for so many at a time."""
    from distillery.schema.dataset import Status

    found: list[Status] = []
    path: str | None = f"/v1/datasets?limit={limit}"
    while path is not None:
        answer = await client.send("GET", path)
        found += client.parse(list[Status], answer.content)
        path = answer.links.get("next", {}).get("url")
    return found


def show(found: "list[Status]", console: Console) -> None:
    """One dataset with all its sources; of several a line each."""
    for one in found if len(found) == 1 else ():
        _show_status(one, console)
    if len(found) > 1:
        _list_statuses(found, console)


def _list_statuses(found: "list[Status]", console: Console) -> None:
    from rich.table import Table

    from cli.story import describe_briefly, say_how_many

    if console.width < _NARROW:
        for one in found:
            words = (one.name, one.state, one.verdict or "", say_how_many(one), describe_briefly(one))
            console.print("  ".join(filter(None, words)), markup=False, highlight=False)
        return
    table = Table("dataset", "state", "verdict", "structures", "teacher", "notes")
    for one in found:
        table.add_row(one.name, one.state, one.verdict or "", say_how_many(one), one.teacher, escape(describe_briefly(one)))
    console.print(table, highlight=False)


def _show_status(one: "Status", console: Console) -> None:
    from cli.story import describe_place

    verdict = f"  {one.verdict}" if one.verdict else ""
    stage = f"  stage {describe_place(one)}" if len(one.stages) > 1 else ""
    console.print(f"[bold]{one.name}[/bold]  {one.state}{verdict}{stage}  round {one.round}  teacher {one.teacher}", highlight=False)
    lines = [one.problem.detail] if one.problem else _list_news(one)
    if lines:
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=one.problem is None)
    _show_sources(one, console)


def _show_sources(one: "Status", console: Console) -> None:
    from rich.table import Table

    from cli.story import describe_row

    if console.width < _NARROW:
        for source, row in one.sources.items():
            words = (f"{source}: {row.counted} of {row.wanted}", f"shards {row.shards_done}/{row.shards}", describe_row(row))
            console.print("  ".join(filter(None, words)), markup=False, highlight=False)
        return
    table = Table("source", "wanted", "proposals", "labelled", "kept", "shards", "notes")
    for source, row in one.sources.items():
        counts = map(str, (row.wanted, row.generated, row.labelled))
        kept = str(row.kept) if row.kept or one.state != "running" else "–"  # nobody has looked before the end of the first round
        table.add_row(source, *counts, kept, f"{row.shards_done}/{row.shards}", escape(describe_row(row)))
    console.print(table)


def _list_news(one: "Status") -> list[str]:
    from cli.story import describe_work, tell_checkpoint
    from distillery.report.page.gate_table import describe_failed

    lines = [tell_checkpoint(checkpoint) for checkpoint in one.checkpoints if len(one.stages) > 1]
    lines += [f"failed: {line}" for line in describe_failed(one.failed_gates)]
    lines += [one.doing or describe_work(one)] if one.state == "running" else []
    lines += [f"{retry.detail} ({retry.tries_so_far})" for retry in one.retries]
    return lines + ([f"scenario {one.scenario}"] if one.state == "finished" else [])
