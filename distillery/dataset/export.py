"""Handing a dataset on: extended XYZ (plain or with MACE's keys), ASE databases (SQLite, as orb reads them) and ASE LMDBs (fairchem)."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from distillery.dataset.layout import open_dataset
from distillery.errors import Unavailable

Indices = Sequence[int] | NDArray[np.int64]


def read_dataset(path: Path | str, indices: Indices | None = None) -> Iterator[Atoms]:
    """The structures of a dataset one by one as ASE atoms with a calculator that holds the labels (eV, eV/Å, eV/Å³).

    `info` has id, source, system and origin (JSON); stress is there only where it has a meaning. `indices` says which
    structures and in which order; all if absent. InvalidRequest if the file is no dataset.
    """
    with open_dataset(path) as file:
        splits = file["structures/atomic_numbers_splits"][:]
        texts = {name: file[f"provenance/{name}"].asstr()[:] for name in ("id", "source", "system", "origin")}
        for i in range(len(splits) - 1) if indices is None else indices:
            yield _read_one(file, int(i), slice(splits[i], splits[i + 1]), {name: str(text[i]) for name, text in texts.items()})


def _read_one(file: h5py.File, i: int, rows: slice, info: dict[str, str]) -> Atoms:
    atoms = Atoms(
        numbers=file["structures/atomic_numbers"][rows],
        positions=file["structures/positions"][rows],
        cell=file["structures/cells"][i],
        pbc=file["structures/pbc"][i],
        info=dict(info),
    )
    results = {"energy": float(file["labels/energy"][i]), "forces": file["labels/forces"][rows].astype(np.float64)}
    if file["labels/stress_mask"][i]:
        results["stress"] = file["labels/stress"][i]
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def find_stressed(path: Path | str) -> NDArray[np.int64]:
    """The indices of the structures whose stress has a meaning: crystals and surfaces."""
    with open_dataset(path) as file:
        return np.flatnonzero(file["labels/stress_mask"][:])


def export_extxyz(dataset: Path | str, target: Path | str, *, mace_keys: bool, indices: Indices | None = None) -> int:
    """Write extended XYZ; with `mace_keys` the labels are REF_energy, REF_forces, REF_stress. The number of structures."""
    from ase.io.extxyz import write_extxyz  # as ase.db below, a second that no other command should wait for

    def write(temporary: Path) -> int:
        n = 0
        with temporary.open("w", encoding="utf-8") as file:
            for atoms in read_dataset(dataset, indices):
                atoms.info["origin"] = atoms.info["origin"].replace("\\", "\\\\")  # ASE escapes quotes alone, but un-escapes both
                write_extxyz(file, [_with_mace_keys(atoms) if mace_keys else atoms], write_results=not mace_keys)
                n += 1
        return n

    return _write_whole(Path(target), write)


def _with_mace_keys(atoms: Atoms) -> Atoms:
    results, atoms.calc = atoms.calc.results, None
    atoms.info["REF_energy"] = results["energy"]
    atoms.arrays["REF_forces"] = results["forces"]
    if "stress" in results:
        atoms.info["REF_stress"] = results["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    return atoms


def export_ase_db(dataset: Path | str, target: Path | str, *, indices: Indices | None = None) -> int:
    """Write an ASE database (SQLite) whose rows are 1, 2, …, as orb's finetune.py counts them. The number of structures.

    structure_id, source and system are key-value pairs, origin is in `data`; energy, forces and stress are float64.
    """
    from ase.db import connect

    def write(temporary: Path) -> int:
        with connect(temporary, type="db", append=False) as database:
            return sum(_write_row(database, atoms) is not None for atoms in read_dataset(dataset, indices))

    return _write_whole(Path(target), write)


def export_aselmdb(dataset: Path | str, target: Path | str, *, indices: Indices | None = None) -> int:
    """Write a folder as fairchem's AseDBDataset reads it: `data.aselmdb` and `metadata.npz` (natoms). The number of structures.

    Rows are those of `export_ase_db`, with the id as `sid` in `data` too. Unavailable if ase-db-backends is not installed.
    """
    try:
        from ase_db_backends.aselmdb import LMDBDatabase
    except ImportError as error:
        raise Unavailable("ASE LMDBs need the package ase-db-backends: pip install 'distillery[training]'") from error
    folder = Path(target)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = folder / "metadata.npz"
    metadata.unlink(missing_ok=True)
    n_atoms: list[int] = []
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        temporary = Path(scratch) / "data.aselmdb"
        with LMDBDatabase(temporary, use_lock_file=False) as database:
            for atoms in read_dataset(dataset, indices):
                _write_row(database, atoms, sid=atoms.info["id"])
                n_atoms.append(len(atoms))
        np.savez(Path(scratch) / metadata.name, natoms=np.array(n_atoms, dtype=np.int64))
        temporary.replace(folder / temporary.name)
        (Path(scratch) / metadata.name).replace(metadata)
    return len(n_atoms)


def _write_row(database: Any, atoms: Atoms, **data: str) -> int:
    """A row of an ASE database; `data` must not hold energy, forces or stress, which fairchem would take for the labels."""
    info = atoms.info
    keys = {"structure_id": info["id"], "source": info["source"], "system": info["system"]}
    row: int = database.write(atoms, data={"origin": json.loads(info["origin"]), **data}, **keys)
    return row


def _write_whole(target: Path, write: Callable[[Path], int]) -> int:
    """Write beside the target, then give it its name: a broken export leaves nothing behind."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        n = write(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return n


FORMATS = ("extxyz", "ase-db", "aselmdb")
SUFFIXES = {"extxyz": ".extxyz", "ase-db": ".db", "aselmdb": "-aselmdb"}
