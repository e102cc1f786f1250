"""`distillery export`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.app import Data, Dataset, app
from cli.completion import complete_side, complete_target
from cli.places import find_file
from cli.selecting import Elements, MaxAtoms, MaxForce, MaxResidual, MinAtoms, Source, System, Where, WithStress, make_selection
from cli.terminal import Console, under_way
from distillery.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distillery.dataset.selection import Selection


Target = Annotated[
    str,
    typer.Option(
        "--to",
        help="A trainer (mace, mace-hdf5, nequip, sevenn, graph-pes, fairchem) or huggingface: a folder with all three sides, and a "
        "configuration or card. Or a format (extxyz, ase-db, aselmdb, zarr): structures alone.",
        autocompletion=complete_target,
    ),
]
Side = Annotated[
    str,
    typer.Option(
        "--split",
        help="train, val or test: that side only, all structures of one parent on one side; or all.",
        autocompletion=complete_side,
    ),
]


@app.command()
def export(
    dataset: Dataset,
    to: Target,
    data: Data = Path("data"),
    out: Annotated[Path | None, typer.Option("--out", help="File or folder to write; beside the dataset if absent.")] = None,
    mace: Annotated[
        bool, typer.Option("--mace", help="extxyz: name the labels REF_energy, REF_forces, REF_stress, as MACE reads them.")
    ] = False,
    shard_size: Annotated[int | None, typer.Option("--shard-size", help="aselmdb: structures a file; 10,000 if absent.")] = None,
    split: Side = "all",
    split_seed: Annotated[int | None, typer.Option("--split-seed", help="Seed of the split; 0 if absent.")] = None,
    fractions: Annotated[str | None, typer.Option("--fractions", help="Parents in train,val,test; 0.8,0.1,0.1 if absent.")] = None,
    source: Source = None,
    system: System = None,
    elements: Elements = None,
    min_atoms: MinAtoms = None,
    max_atoms: MaxAtoms = None,
    max_force: MaxForce = None,
    max_residual: MaxResidual = None,
    with_stress: WithStress = False,
    where: Where = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what an export wrote before; never the dataset itself.")] = False,
) -> None:
    """Hand a dataset to a trainer or the Hugging Face Hub, with a configuration or a card; or write structures as plain files.

    Trainers are tried with their own packages: docs/trainers.md.
    """
    selection = make_selection(source, system, elements, min_atoms, max_atoms, max_force, max_residual, with_stress, where)
    is_trainer_format = _is_trainer_format(to)
    file = _find_unbroken(dataset, data)
    options = {"mace_keys": mace or None, "shard_size": shard_size}
    asked = _Asked(file, out, split, split_seed, fractions, selection, force)
    if is_trainer_format:
        _export_for_trainer(to, asked, options)
    else:
        _write_format(to, asked, options)


def _find_unbroken(dataset: Path, data: Path) -> Path:
    """The dataset's file; InvalidRequest if it is damaged."""
    from distillery.dataset.sealed_file import require_unbroken

    file = find_file(dataset, data)
    with under_way(f"reading {file}"):
        require_unbroken(file, "nothing of it is exported")
    return file


def _is_trainer_format(to: str) -> bool:
    """Whether a folder for a trainer is asked for; InvalidRequest if there is neither trainer nor format of this name."""
    from distillery.export.formats import FORMATS
    from distillery.export.trainer_formats import TRAINER_FORMATS

    if to not in TRAINER_FORMATS and to not in FORMATS:
        raise InvalidRequest(f"--to must be one of {', '.join((*TRAINER_FORMATS, *FORMATS))}; got {to!r}")
    return to in TRAINER_FORMATS


@dataclass(frozen=True)
class _Asked:
    """What is to be written, and where."""

    dataset: Path
    out: Path | None
    side: str
    seed: int | None
    fractions: str | None
    selection: "Selection"
    overwrite: bool


def _export_for_trainer(to: str, asked: _Asked, options: dict[str, Any]) -> None:
    """Write the folder for a trainer; print what is in it and what to type."""
    from distillery.dataset.splits import FRACTIONS, parse_fractions
    from distillery.export.trainer_folder import export_for_trainer

    _read_options((), options)
    if asked.side != "all":
        raise InvalidRequest(f"--to {to} writes all three sides into one folder; leave --split out, or name a format")
    target = asked.out or asked.dataset.with_name(f"{asked.dataset.stem}-{to}")
    fractions = FRACTIONS if asked.fractions is None else parse_fractions(asked.fractions)
    with under_way(f"writing {target}"):
        done = export_for_trainer(
            asked.dataset, target, to, seed=asked.seed or 0, fractions=fractions, selection=asked.selection, overwrite=asked.overwrite
        )
    _print_left_out(", ".join(f"{n} {reason}" for reason, n in done.left_out.items()))
    counts = ", ".join(f"{side} {n}" for side, n in done.n_structures.items())
    Console().print(f"{counts} structures written to {target}. There: {done.command}", highlight=False, markup=False, soft_wrap=True)


def _write_format(to: str, asked: _Asked, options: dict[str, Any]) -> None:
    """Write a file or folder with structures alone; print how many."""
    from distillery.export.formats import FORMATS

    own = FORMATS[to]
    options = _read_options(own.options, options)
    sides = _Sides(asked.side, asked.seed, asked.fractions)
    name = asked.dataset.stem if asked.side == "all" else f"{asked.dataset.stem}-{asked.side}"
    target = asked.out or asked.dataset.with_name(name + own.suffix)
    own.require(asked.dataset, target, overwrite=asked.overwrite)
    indices = _choose(asked.dataset, sides, asked.selection)
    with under_way(f"writing {target}"):
        n = own.export(asked.dataset, target, indices=indices, overwrite=asked.overwrite, **options)
    Console().print(f"{n} structures written to {target}", markup=False, highlight=False)


_FLAGS = {"mace_keys": ("--mace", "extxyz"), "shard_size": ("--shard-size", "aselmdb")}


def _read_options(known: tuple[str, ...], given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given; InvalidRequest if one is of another format."""
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
        _print_left_out(selected.describe_left_out())
    if indices is not None and not len(indices):
        raise InvalidRequest(f"nothing of {file} is left to write; choose another side, --split-seed or --fractions, or wider limits")
    return indices


def _print_left_out(counts: str) -> None:
    if counts:
        Console().print(f"left out: {counts}", highlight=False, soft_wrap=True)


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
