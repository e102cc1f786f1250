"""A dataset exported for a trainer: a folder with its three sides, and a configuration that trains on them as it is."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from distillery.dataset.blocks import read_sizes
from distillery.dataset.element_energies import read_element_energies
from distillery.dataset.layout import open_dataset
from distillery.dataset.selection import Selection, choose_structures
from distillery.dataset.splits import FRACTIONS, Fractions, Side, split_dataset
from distillery.errors import InvalidRequest
from distillery.export import huggingface
from distillery.export.places import require_folder, write_folder_whole
from distillery.export.trainer_formats import TRAINER_FORMATS, TrainerFormat

Sides = Mapping[Side, NDArray[np.int64]]


@dataclass(frozen=True)
class TrainerFolder:
    """What was written.

    n_structures  by side
    left_out      by reason
    command       what to type in the folder
    """

    n_structures: Mapping[str, int]
    left_out: Counter[str]
    command: str


def export_for_trainer(
    dataset: Path | str,
    target: Path | str,
    to: str,
    *,
    seed: int = 0,
    fractions: Fractions = FRACTIONS,
    selection: Selection | None = None,
    overwrite: bool = True,
) -> TrainerFolder:
    """Write the folder `target` with the sides train, val and test and what a trainer (`TRAINER_FORMATS`) wants beside them.

    seed, fractions  as `split_dataset` takes them
    selection        which structures; all if absent

    InvalidRequest: there is no such trainer, a side has no structure, or the folder is not to be written.
    """
    if to not in TRAINER_FORMATS:
        raise InvalidRequest(f"a dataset is exported for one of {', '.join(TRAINER_FORMATS)}; got {to!r}")
    own, dataset = TRAINER_FORMATS[to], Path(dataset)
    folder = require_folder(dataset, Path(target), own.patterns, overwrite=overwrite)
    sides, left_out = _choose_sides(dataset, seed, fractions, selection or Selection())
    with write_folder_whole(folder) as temporary:
        for side, rows in sides.items():
            own.write(temporary, side, dataset, rows)
        if own.configuration:
            (temporary / own.configuration).write_text(write_configuration(own, dataset, sides), encoding="utf-8")
        else:
            huggingface.write_cards(temporary, dataset, sides)
    return TrainerFolder({side: len(rows) for side, rows in sides.items()}, left_out, own.command)


def _choose_sides(dataset: Path, seed: int, fractions: Fractions, selection: Selection) -> tuple[Sides, Counter[str]]:
    split = split_dataset(dataset, seed=seed, fractions=fractions)
    selected = {side: choose_structures(dataset, selection, rows) for side, rows in split.indices.items()}
    sides = {side: own.indices for side, own in selected.items()}
    empty = [side for side, rows in sides.items() if not rows.size]
    if empty:
        raise InvalidRequest(
            f"{dataset} has no structure left for {' and '.join(empty)}; choose another --split-seed or --fractions, or wider limits"
        )
    return sides, sum((own.left_out for own in selected.values()), Counter())


def write_configuration(trainer_format: TrainerFormat, dataset: Path, sides: Sides) -> str:
    """The text of a trainer's configuration for these sides of a dataset."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("distillery.export", "configurations")
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True)
    template = environment.get_template(f"{trainer_format.configuration}.j2")
    return template.render(describe_sides(dataset, sides), trainer_format=trainer_format)


def describe_sides(dataset: Path, sides: Sides) -> dict[str, Any]:
    """What configurations are made from.

    elements    symbols in the order of atomic numbers
    numbers     their atomic numbers
    energies    the fitted energy of each (E0), eV, by symbol; `energies_by_number`, by atomic number
    sources     names
    stressed    by side, whether any structure has a stress; `unstressed`, whether any has none; `present` says both
    has_charges  whether structures have charges and spin multiplicities
    largest     atoms of the largest structure
    cutoff      Å
    """
    with open_dataset(dataset) as file:
        mask, has_charges = file["labels/stress_mask"][:], "structures/charges" in file
        sources = file["provenance/source"].asstr()[:]
    energies = read_element_energies(dataset).fitted
    elements = sorted(energies, key=atomic_numbers.__getitem__)
    rows = np.concatenate(list(sides.values()))
    stressed = {side: bool(mask[own].any()) for side, own in sides.items()}
    unstressed = {side: not mask[own].all() for side, own in sides.items()}
    return {
        "elements": elements,
        "numbers": [atomic_numbers[element] for element in elements],
        "energies": {element: round(energies[element], 6) for element in elements},
        "energies_by_number": {atomic_numbers[element]: round(energies[element], 6) for element in elements},
        "sources": sorted(set(sources[rows].tolist())),
        "stressed": stressed,
        "unstressed": unstressed,
        "present": {side: {"periodic": stressed[side], "finite": unstressed[side]} for side in sides},
        "has_charges": has_charges,
        "largest": int(read_sizes(dataset)[rows].max()),
        "cutoff": 5.0,
    }
