"""`distillery export`."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

from cli.app import app
from distillery.dataset import export as exporting
from distillery.errors import InvalidRequest


@app.command()
def export(
    dataset: Annotated[Path, typer.Argument(help="A dataset.h5.")],
    to: Annotated[str, typer.Option("--to", help=f"{', '.join(exporting.FORMATS)}.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write, for aselmdb a folder; beside the dataset if absent.")
    ] = None,
    mace: Annotated[
        bool, typer.Option("--mace", help="extxyz: name the labels REF_energy, REF_forces, REF_stress, as MACE reads them.")
    ] = False,
    split: Annotated[
        str, typer.Option("--split", help="train, val or test: that side only, all structures of one parent on one side; or all.")
    ] = "all",
    split_seed: Annotated[int, typer.Option("--split-seed", help="Seed of the split.")] = 0,
    fractions: Annotated[str, typer.Option("--fractions", help="Fractions of the parents in train,val,test.")] = "0.8,0.1,0.1",
    with_stress: Annotated[
        bool, typer.Option("--with-stress", help="Only structures that have a stress (crystals, surfaces), as orb's finetune.py needs it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already; never the dataset itself.")] = False,
) -> None:
    """Write a dataset, or one side of it, as extended XYZ, as an ASE database (orb) or as an ASE LMDB (fairchem)."""
    if to not in exporting.FORMATS:
        raise InvalidRequest(f"--to must be one of {', '.join(exporting.FORMATS)}; got {to!r}")
    if mace and to != "extxyz":
        raise InvalidRequest("--mace goes with --to extxyz only")
    name = dataset.stem if split == "all" else f"{dataset.stem}-{split}"
    target = out or dataset.with_name(name + exporting.SUFFIXES[to])
    exporting.require_place(dataset, target, to, overwrite=force)
    indices = _choose(dataset, split, split_seed, fractions)
    if with_stress:
        stressed = exporting.find_stressed(dataset)
        indices = stressed if indices is None else np.intersect1d(indices, stressed)
    if indices is not None and not len(indices):
        raise InvalidRequest(f"nothing of {dataset} is left to write; choose another side, --split-seed or --fractions")
    if to == "extxyz":
        n = exporting.export_extxyz(dataset, target, mace_keys=mace, indices=indices, overwrite=force)
    else:
        write = exporting.export_ase_db if to == "ase-db" else exporting.export_aselmdb
        n = write(dataset, target, indices=indices, overwrite=force)
    Console().print(f"{n} structures written to {target}", highlight=False)


def _choose(dataset: Path, side: str, seed: int, fractions: str) -> NDArray[np.int64] | None:
    """The indices of a side, the achieved fractions printed; None for all."""
    if side == "all":
        return None
    from distillery.dataset.splits import SIDES, parse_fractions, split_dataset

    if side not in SIDES:
        raise InvalidRequest(f"--split must be one of {', '.join(SIDES)}, all; got {side!r}")
    split = split_dataset(dataset, seed=seed, fractions=parse_fractions(fractions))
    Console().print(split.describe(), highlight=False, soft_wrap=True)
    return split.indices[side]
