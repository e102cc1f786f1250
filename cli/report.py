"""`distillery report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cli.app import Data, Dataset, app
from cli.places import find_folder
from cli.terminal import under_way


@app.command()
def report(
    dataset: Dataset,
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; report.html in the dataset's folder if absent.")] = None,
    structures: Annotated[
        int | None,
        typer.Option("--structures", min=0, max=5000, help="Structures drawn at random that the page carries; 200 if absent."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of --out if it is there already.")] = False,
) -> None:
    """Make the page report.html of a dataset, finished or not, from its parts."""
    from distillery.dataset.folder import PAGE
    from distillery.report.page.carried import CARRIED
    from distillery.report.page.page import write_page
    from distillery.runtime.atomic_files import require_target

    folder = find_folder(dataset, data)
    path = out or folder / PAGE
    own = [file for file in folder.rglob("*") if file.is_file() and file != folder / PAGE]
    target = require_target(path, inputs=own, overwrite=force or out is None)
    with under_way(f"making {path}"):
        write_page(folder, target, CARRIED if structures is None else structures)
    Console().print(f"{path}  {path.stat().st_size / 1e6:.1f} MB", highlight=False, soft_wrap=True)
