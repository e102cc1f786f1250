"""Who takes a dataset as a whole: trainers, each with the format of its sides and a configuration, and the Hugging Face Hub."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.selection import Selection, choose_structures
from distillery.dataset.splits import Side
from distillery.export import huggingface
from distillery.export.ase_databases import SHARD_SIZE, write_lmdbs
from distillery.export.extxyz import ASE_KEYS, REFERENCE_KEYS, Keys, write_extxyz
from distillery.export.mace_hdf5 import write_mace_hdf5

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class TrainerFormat:
    """A program that reads a folder with the three sides of a dataset.

    package        on PyPI
    write          writes what it reads of a side: (folder, side, dataset, rows)
    sides          what that writes, relative to the folder; patterns
    suffix         of a side's file; "" for a folder
    configuration  the file that a user starts from, made of the template of this name in configurations/; "" for none
    command        what a user types in the folder
    """

    package: str
    write: Callable[[Path, Side, Path, Rows], None]
    sides: tuple[str, ...]
    suffix: str
    configuration: str
    command: str

    @property
    def patterns(self) -> tuple[str, ...]:
        """Everything that the folder may hold."""
        return (*self.sides, self.configuration) if self.configuration else self.sides


def _text(package: str, keys: Keys, configuration: str, command: str) -> TrainerFormat:
    """One that reads extended XYZ."""

    def write(folder: Path, side: Side, dataset: Path, rows: Rows) -> None:
        write_extxyz(folder / f"{side}.extxyz", dataset, rows, keys)

    sides = tuple(f"{side}.extxyz" for side in ("train", "val", "test"))
    return TrainerFormat(package, write, sides, ".extxyz", configuration, command)


def _write_lmdbs_by_stress(folder: Path, side: Side, dataset: Path, rows: Rows) -> None:
    """Two datasets of a side, as all structures of one dataset need the same labels: those with a stress, and those without."""
    stressed = choose_structures(dataset, Selection(with_stress=True), rows).indices
    for name, own in (("periodic", stressed), ("finite", np.setdiff1d(rows, stressed))):
        if own.size:
            place = folder / side / name
            place.mkdir(parents=True)
            write_lmdbs(place, dataset, own, SHARD_SIZE)


def _write_hdf5(folder: Path, side: Side, dataset: Path, rows: Rows) -> None:
    write_mace_hdf5(folder / side, dataset, rows)


_LMDBS = ("*/*/data*.aselmdb", "*/*/data*.aselmdb-lock", "*/*/metadata.npz")
_HUB = "python -c 'import datasets; print(datasets.load_dataset(\".\"))'"
TRAINER_FORMATS: Mapping[str, TrainerFormat] = {
    "mace": _text("mace-torch", REFERENCE_KEYS, "mace.yaml", "mace_run_train --config mace.yaml"),
    "mace-hdf5": TrainerFormat("mace-torch", _write_hdf5, ("*/*.h5",), "", "mace.yaml", "mace_run_train --config mace.yaml"),
    "nequip": _text("nequip", Keys(missing_stress="nan"), "nequip.yaml", "nequip-train -cp $PWD -cn nequip"),
    "sevenn": _text("sevenn", ASE_KEYS, "sevenn.yaml", "sevenn sevenn.yaml"),
    "graph-pes": _text("graph-pes", REFERENCE_KEYS, "graph-pes.yaml", "graph-pes-train graph-pes.yaml"),
    "fairchem": TrainerFormat("fairchem-core", _write_lmdbs_by_stress, _LMDBS, "", "fairchem.yaml", "fairchem -c fairchem.yaml"),
    "huggingface": TrainerFormat("datasets", huggingface.write_side, huggingface.FILES, "", "", _HUB),
}
