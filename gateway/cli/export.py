"""`distillery export`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from contract.problems import InvalidRequest
from gateway import export as exporting
from gateway.cli.app import app


@app.command()
def export(
    dataset: Annotated[Path, typer.Argument(help="A dataset.h5.")],
    to: Annotated[str, typer.Option("--to", help=f"{' or '.join(exporting.FORMATS)}.")],
    out: Annotated[Path | None, typer.Option("--out", help="The file to write; beside the dataset if absent.")] = None,
    mace: Annotated[
        bool, typer.Option("--mace", help="extxyz: name the labels REF_energy, REF_forces, REF_stress, as MACE reads them.")
    ] = False,
) -> None:
    """Write a dataset as extended XYZ (ASE reads it back with its labels) or as an ASE database."""
    if to not in exporting.FORMATS:
        raise InvalidRequest(f"--to must be one of {', '.join(exporting.FORMATS)}; got {to!r}")
    if mace and to != "extxyz":
        raise InvalidRequest("--mace goes with --to extxyz only")
    target = out or dataset.with_suffix(exporting.SUFFIXES[to])
    if to == "extxyz":
        n = exporting.export_extxyz(dataset, target, mace_keys=mace)
    else:
        n = exporting.export_ase_db(dataset, target)
    Console().print(f"{n} structures written to {target}", highlight=False)
