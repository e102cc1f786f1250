"""`distillery export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cli.app import Data, Dataset, app
from cli.places import find_file
from cli.terminal import under_way
from distillery.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distillery.dataset.selection import Selection

ONE_OF = "which to write; may be given several times."


@app.command()
def export(
    dataset: Dataset,
    to: Annotated[str, typer.Option("--to", help="extxyz, ase-db, aselmdb.")],
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option("--out", help="File to write, for aselmdb a folder; beside the dataset if absent.")] = None,
    mace: Annotated[
        bool, typer.Option("--mace", help="extxyz: name the labels REF_energy, REF_forces, REF_stress, as MACE reads them.")
    ] = False,
    shard_size: Annotated[int | None, typer.Option("--shard-size", help="aselmdb: structures a file; 10,000 if absent.")] = None,
    split: Annotated[
        str, typer.Option("--split", help="train, val or test: that side only, all structures of one parent on one side; or all.")
    ] = "all",
    split_seed: Annotated[int | None, typer.Option("--split-seed", help="Seed of the split; 0 if absent.")] = None,
    fractions: Annotated[str | None, typer.Option("--fractions", help="Parents in train,val,test; 0.8,0.1,0.1 if absent.")] = None,
    source: Annotated[list[str] | None, typer.Option("--source", help=f"Source {ONE_OF}")] = None,
    system: Annotated[list[str] | None, typer.Option("--system", help=f"System (molecule, crystal, cluster, surface) {ONE_OF}")] = None,
    elements: Annotated[str | None, typer.Option("--elements", help="Only structures of no other elements, as in H,C,O.")] = None,
    min_atoms: Annotated[int | None, typer.Option("--min-atoms", help="Only structures of at least so many atoms.")] = None,
    max_atoms: Annotated[int | None, typer.Option("--max-atoms", help="Only structures of at most so many atoms.")] = None,
    max_force: Annotated[float | None, typer.Option("--max-force", help="Only structures whose forces are at most so long, eV/Å.")] = None,
    with_stress: Annotated[
        bool, typer.Option("--with-stress", help="Only structures that have a stress (crystals, surfaces), as orb's finetune.py needs it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what an export wrote before; never the dataset itself.")] = False,
) -> None:
    """Write a dataset, or some of it, as extended XYZ, as an ASE database (orb) or as ASE LMDBs (fairchem)."""
    from distillery.dataset.selection import Selection
    from distillery.export.formats import FORMATS

    if to not in FORMATS:
        raise InvalidRequest(f"--to must be one of {', '.join(FORMATS)}; got {to!r}")
    options = _read_options(FORMATS[to].options, mace_keys=mace or None, shard_size=shard_size)
    sides = _Sides(split, split_seed, fractions)
    selection = Selection(
        sources=tuple(source or ()),
        systems=tuple(system or ()),
        elements=tuple(elements.split(",")) if elements else (),
        min_atoms=min_atoms,
        max_atoms=max_atoms,
        max_force=max_force,
        with_stress=with_stress,
    )
    file = find_file(dataset, data)
    name = file.stem if split == "all" else f"{file.stem}-{split}"
    target = out or file.with_name(name + FORMATS[to].suffix)
    FORMATS[to].require(file, target, overwrite=force)
    indices = _choose(file, sides, selection)
    with under_way(f"writing {target}"):
        n = FORMATS[to].export(file, target, indices=indices, overwrite=force, **options)
    Console().print(f"{n} structures written to {target}", highlight=False)


_FLAGS = {"mace_keys": ("--mace", "extxyz"), "shard_size": ("--shard-size", "aselmdb")}


def _read_options(known: tuple[str, ...], **given: Any) -> dict[str, Any]:
    """The options that were given; InvalidRequest if the format does not know one."""
    found = {name: value for name, value in given.items() if value is not None}
    for name in found:
        if name not in known:
            flag, owner = _FLAGS[name]
            raise InvalidRequest(f"{flag} goes with --to {owner} only")
    return found


def _choose(file: Path, sides: "_Sides", selection: "Selection") -> "NDArray[np.int64] | None":
    """The rows to write, None for all; says what is left out, InvalidRequest if that is everything."""
    from distillery.dataset.selection import Selection, choose_structures

    indices = sides.choose(file)
    if selection != Selection():
        selected = choose_structures(file, selection, indices)
        indices = selected.indices
        if selected.left_out:
            Console().print(f"left out: {selected.describe_left_out()}", highlight=False, soft_wrap=True)
    if indices is not None and not len(indices):
        raise InvalidRequest(f"nothing of {file} is left to write; choose another side, --split-seed or --fractions, or wider limits")
    return indices


class _Sides:
    """Which side of a dataset is asked for; InvalidRequest before any file is read."""

    def __init__(self, side: str, seed: int | None, fractions: str | None) -> None:
        from distillery.dataset.splits import FRACTIONS, SIDES, parse_fractions

        if side == "all":
            given = [flag for flag, value in (("--split-seed", seed), ("--fractions", fractions)) if value is not None]
            if given:
                raise InvalidRequest(f"{' and '.join(given)} say how sides are cut: give --split {', '.join(SIDES)} with that")
        elif side not in SIDES:
            raise InvalidRequest(f"--split must be one of {', '.join(SIDES)}, all; got {side!r}")
        self.side, self.seed = side, seed or 0
        self.fractions = FRACTIONS if fractions is None else parse_fractions(fractions)

    def choose(self, file: Path) -> "NDArray[np.int64] | None":
        """The rows of the side, None for all; prints the achieved fractions."""
        from distillery.dataset.splits import split_dataset

        if self.side == "all":
            return None
        split = split_dataset(file, seed=self.seed, fractions=self.fractions)
        Console().print(split.describe(), highlight=False, soft_wrap=True)
        return next(own for side, own in split.indices.items() if side == self.side)
