"""`distillery export`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from cli.app import Data, Dataset, app
from cli.places import find_file
from cli.terminal import under_way
from distillery.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@app.command()
def export(
    dataset: Dataset,
    to: Annotated[str, typer.Option("--to", help="extxyz, ase-db, aselmdb.")],
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option("--out", help="File to write, for aselmdb a folder; beside the dataset if absent.")] = None,
    mace: Annotated[
        bool, typer.Option("--mace", help="extxyz: name the labels REF_energy, REF_forces, REF_stress, as MACE reads them.")
    ] = False,
    split: Annotated[
        str, typer.Option("--split", help="train, val or test: that side only, all structures of one parent on one side; or all.")
    ] = "all",
    split_seed: Annotated[int | None, typer.Option("--split-seed", help="Seed of the split; 0 if absent.")] = None,
    fractions: Annotated[str | None, typer.Option("--fractions", help="Parents in train,val,test; 0.8,0.1,0.1 if absent.")] = None,
    with_stress: Annotated[
        bool, typer.Option("--with-stress", help="Only structures that have a stress (crystals, surfaces), as orb's finetune.py needs it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already; never the dataset itself.")] = False,
) -> None:
    """Write a dataset, or one side of it, as extended XYZ, as an ASE database (orb) or as an ASE LMDB (fairchem)."""
    import numpy as np

    from distillery.dataset import export as exporting

    if to not in exporting.FORMATS:
        raise InvalidRequest(f"--to must be one of {', '.join(exporting.FORMATS)}; got {to!r}")
    if mace and to != "extxyz":
        raise InvalidRequest("--mace goes with --to extxyz only")
    choose = _read_split(split, split_seed, fractions)
    file = find_file(dataset, data)
    name = file.stem if split == "all" else f"{file.stem}-{split}"
    target = out or file.with_name(name + exporting.SUFFIXES[to])
    exporting.require_place(file, target, to, overwrite=force)
    indices = choose(file)
    if with_stress:
        stressed = exporting.find_stressed(file)
        indices = stressed if indices is None else np.intersect1d(indices, stressed)
    if indices is not None and not len(indices):
        raise InvalidRequest(f"nothing of {file} is left to write; choose another side, --split-seed or --fractions")
    with under_way(f"writing {target}"):
        if to == "extxyz":
            n = exporting.export_extxyz(file, target, mace_keys=mace, indices=indices, overwrite=force)
        else:
            write = exporting.export_ase_db if to == "ase-db" else exporting.export_aselmdb
            n = write(file, target, indices=indices, overwrite=force)
    Console().print(f"{n} structures written to {target}", highlight=False)


def _read_split(side: str, seed: int | None, fractions: str | None) -> "Callable[[Path], NDArray[np.int64] | None]":
    """What gives the indices of a side, None for all, and prints the achieved fractions; InvalidRequest before any file is read."""
    from distillery.dataset.splits import SIDES, parse_fractions, split_dataset

    if side == "all":
        given = [flag for flag, value in (("--split-seed", seed), ("--fractions", fractions)) if value is not None]
        if given:
            raise InvalidRequest(f"{' and '.join(given)} say how sides are cut: give --split {', '.join(SIDES)} with that")
        return lambda file: None
    if side not in SIDES:
        raise InvalidRequest(f"--split must be one of {', '.join(SIDES)}, all; got {side!r}")
    shares = parse_fractions("0.8,0.1,0.1" if fractions is None else fractions)

    def choose(file: Path) -> "NDArray[np.int64]":
        split = split_dataset(file, seed=seed or 0, fractions=shares)
        Console().print(split.describe(), highlight=False, soft_wrap=True)
        return split.indices[side]

    return choose
