"""`distillery services`."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from cli.app import Gateway, app
from cli.completion import complete_service
from cli.terminal import Console, under_way
from distillery.errors import Problem

if TYPE_CHECKING:
    from distillery.schema.generate import Metadata


@app.command()
def services(
    gateway: Gateway = None,
    name: Annotated[str | None, typer.Argument(help="Show one service and its options.", autocompletion=complete_service)] = None,
) -> None:
    """Show which services there are, what they make, and their options."""
    import asyncio

    from distillery.generators.plugins import list_services

    with under_way("asking the services"):
        cards = asyncio.run(_ask_services([name] if name else list_services(), gateway))
    console = Console()
    if name:
        (card,) = cards.values()
        assert not isinstance(card, Problem)  # a problem with the only one is raised
        _show_service(card, console)
        return
    table = Table("service", "makes", "atoms", "version", "method")
    for service, card in cards.items():
        if isinstance(card, Problem):
            table.add_row(service, f"[red]{card.kind}[/red]", "", "", escape(card.detail))
            continue
        sizes = ", ".join(f"{s.default_min_atoms}-{s.default_max_atoms}" for s in card.systems.values())
        table.add_row(service, ", ".join(card.systems), sizes, escape(card.version), escape(card.method))
    console.print(table)


async def _ask_services(names: list[str], gateway: str | None) -> "dict[str, Metadata | Problem]":
    cards: dict[str, Metadata | Problem] = {}
    for name in names:
        try:
            cards[name] = await _ask_service(name, gateway)
        except Problem as problem:
            if len(names) == 1:
                raise
            cards[name] = problem
    return cards


async def _ask_service(name: str, gateway: str | None) -> "Metadata":
    if gateway:
        from cli.remote import open_remote
        from distillery.schema.generate import Metadata

        async with open_remote(gateway) as client:
            return await client.ask(Metadata, "GET", f"/v1/services/{name}")
    from distillery.generators.plugins import build_generator

    return build_generator(name).metadata


def _show_service(card: "Metadata", console: Console) -> None:
    version, method, licence = map(escape, (card.version, card.method, card.licence))
    console.print(f"[bold]{card.service} {version}[/bold]  {method}\nlicence: {licence}", highlight=False)
    for system, limits in card.systems.items():
        console.print(
            f"\n[bold]{system}[/bold]  {limits.min_atoms}-{limits.max_atoms} atoms "
            f"(default {limits.default_min_atoms}-{limits.default_max_atoms})  elements {' '.join(limits.elements)}",
            highlight=False,
        )
        table = Table("option", "default", "meaning")
        for option, schema in limits.options_schema.get("properties", {}).items():
            table.add_row(option, escape(str(schema.get("default", "required"))), escape(schema.get("description", "")))
        console.print(table)
