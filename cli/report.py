"""`distillery report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.app import Data, app, require_place
from distillery.dataset.folder import RECIPE
from distillery.errors import NotFound


@app.command()
def report(
    dataset: Annotated[Path, typer.Argument(help="A dataset's name, or its folder.")],
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; report.html in the dataset's folder if absent.")] = None,
) -> None:
    """Make the page report.html of a dataset, finished or not, from its parts."""
    from distillery.dataset.folder import PAGE
    from distillery.report.page.page import write_page

    folder = _find_folder(dataset, data)
    path = out or folder / PAGE
    require_place(path)
    write_page(folder, path)
    Console().print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", highlight=False, soft_wrap=True)


def _find_folder(dataset: Path, data: Path) -> Path:
    for folder in (dataset, data / dataset):
        if (folder / RECIPE).is_file():
            return folder
    raise NotFound(
        f"there is no dataset at {dataset} nor {data / dataset}: neither folder has a {RECIPE}; `distillery status` lists datasets"
    )
