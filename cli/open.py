"""`distillery open`."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from cli.app import Data, Gateway, app
from cli.completion import complete_dataset
from cli.places import find_folder
from cli.terminal import Console
from distillery.errors import NotFound


@app.command("open")
def open_page(
    name: Annotated[str | None, typer.Argument(metavar="DATASET", help="A dataset.", autocompletion=complete_dataset)] = None,
    gateway: Gateway = None,
    data: Data = Path("data"),
) -> None:
    """Open the live page of a gateway or of one of its datasets in a browser; without a gateway a dataset's report.html."""
    address = _find_page(gateway, name) if gateway else _find_report(name, data)
    Console().print(address, highlight=False, soft_wrap=True)
    typer.launch(address)


def _find_page(gateway: str, name: str | None) -> str:
    from distillery.http.address import read_address

    return f"{read_address(gateway).rstrip('/')}/" + (f"datasets/{quote(name, safe='')}" if name else "")


def _find_report(name: str | None, data: Path) -> str:
    if name is None:
        raise NotFound("name a dataset, or a gateway (--gateway URL) whose page is to be opened; `distillery run --page` has one too")
    page = find_folder(Path(name), data) / "report.html"
    if not page.is_file():
        raise NotFound(f"there is no {page} yet; `distillery report {name}` makes one of what there is so far")
    return page.resolve().as_uri()
