"""`distillery recipe`."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.app import app
from gateway.compact import write_recipe


@app.command()
def recipe(dataset: Annotated[Path, typer.Argument(help="A dataset.h5.")]) -> None:
    """Print the recipe of a dataset and the versions that made it: the dataset in its compact form.

    `distillery recipe data/x/dataset.h5 > x.yaml; distillery run x.yaml --data elsewhere` makes it again.
    """
    print(write_recipe(dataset), end="")
