"""`distillery report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.app import Data, app
from distillery.dataset.folder import RECIPE
from distillery.errors import NotFound
from distillery.runtime.atomic_files import require_target


@app.command()
def report(
    dataset: Annotated[Path, typer.Argument(help="A dataset's name, or its folder.")],
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; report.html in the dataset's folder if absent.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it is there already.")] = False,
) -> None:
    """Make the page report.html of a dataset, finished or not, from its parts."""
    from distillery.dataset.folder import PAGE
    from distillery.report.page.page import write_page

    folder = _find_folder(dataset, data)
    path = out or folder / PAGE
    own = [file for file in folder.rglob("*") if file.is_file() and file != folder / PAGE]
    write_page(folder, require_target(path, inputs=own, overwrite=force or out is None))
    Console().print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", highlight=False, soft_wrap=True)


def _find_folder(dataset: Path, data: Path) -> Path:
    for folder in (dataset, data / dataset):
        if (folder / RECIPE).is_file():
            return folder
    raise NotFound(
        f"there is no dataset at {dataset} nor {data / dataset}: neither folder has a {RECIPE}; `distillery status` lists datasets"
    )
