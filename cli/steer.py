"""`distillery pause`, `resume`, `cancel` and `delete`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.app import Data, Gateway, app
from cli.completion import complete_dataset
from cli.places import find_folder
from cli.terminal import Console, under_way
from distillery.errors import InvalidRequest

if TYPE_CHECKING:
    from distillery.schema.dataset import Status

Name = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's name.", autocompletion=complete_dataset)]


@app.command()
def pause(name: Name, gateway: Gateway = None) -> None:
    """Have a gateway finish the shards in work of a dataset and begin no others."""
    _steer(name, gateway, "pause")


@app.command()
def resume(name: Name, gateway: Gateway = None) -> None:
    """Have a gateway go on with a dataset, whatever stopped it."""
    _steer(name, gateway, "resume")


@app.command()
def cancel(name: Name, gateway: Gateway = None) -> None:
    """Have a gateway give up the shards in work of a dataset; finished parts stay, `resume` goes on from there."""
    _steer(name, gateway, "cancel")


@app.command()
def delete(
    name: Name,
    gateway: Gateway = None,
    data: Data = Path("data"),
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the name again.")] = False,
) -> None:
    """Remove a dataset with all its files, for good; not while it is being made."""
    import asyncio

    folder = None if gateway else find_folder(Path(name), data).resolve()
    name = name if folder is None else folder.name
    if not yes and typer.prompt(f"This removes {folder or f'{name} from {gateway}'}. Type its name to go on") != name:
        raise InvalidRequest("that was another name; nothing is removed")
    with under_way(f"deleting {name}"):
        asyncio.run(_delete(name, gateway, Path() if folder is None else folder.parent))
    Console().print(f"{name} is deleted", highlight=False)


def _steer(name: str, gateway: str | None, verb: str) -> None:
    import asyncio

    if not gateway:
        raise InvalidRequest(
            f"{verb} is asked of a gateway: give --gateway URL. A run in a terminal stops with Ctrl-C, and goes on by the same command"
        )
    with under_way(f"asking {gateway}"):
        status = asyncio.run(_ask(name, gateway, verb))
    Console().print(f"{name} is {status.state}", highlight=False)


async def _ask(name: str, gateway: str, verb: str) -> "Status":
    from cli.remote import open_remote
    from distillery.http.address import find_route
    from distillery.schema.dataset import Status

    async with open_remote(gateway) as client:
        return await client.ask(Status, "POST", f"{find_route(name)}/{verb}")


async def _delete(name: str, gateway: str | None, data: Path) -> None:
    from cli.remote import open_remote
    from cli.sessions import open_manager
    from distillery.http.address import find_route

    if not gateway:
        await open_manager(data).delete(name)
        return
    async with open_remote(gateway) as client:
        await client.send("DELETE", find_route(name))
