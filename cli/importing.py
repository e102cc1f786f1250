"""`distillery import`."""

from pathlib import Path
from typing import Annotated

import typer

from cli.app import app
from cli.terminal import Console, under_way


@app.command(name="import")
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An HDF5 file with structures and labels, and without provenance.")],
    out: Annotated[Path, typer.Option("--out", help="The dataset.h5 to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already; never the one that is read.")] = False,
) -> None:
    """Make a dataset of a file of another program that has the columns of dataset.h5, but not where its structures are from.

    It can be read, split, exported and trained on; verify says that it has no receipts.
    """
    from distillery.dataset.foreign import import_dataset

    with under_way(f"writing {out}"):
        n = import_dataset(file, out, overwrite=force)
    Console().print(f"{n} structures written to {out}", markup=False, highlight=False)
