"""Handing a dataset on: extended XYZ (plain or with MACE's keys), ASE databases (SQLite, as orb reads them) and ASE LMDBs (fairchem)."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from numpy.typing import NDArray

from distillery.dataset.element_energies import describe_element_energies
from distillery.dataset.layout import open_dataset
from distillery.errors import InvalidRequest, Unavailable
from distillery.runtime.atomic_files import require_target, write_whole

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


def require_place(dataset: Path, target: Path, to: str, *, overwrite: bool) -> list[Path]:
    """The files that an export would write, links followed; InvalidRequest, before any work, if one of them must not be written.

    The dataset itself never is, by whatever name or link; nor anything but a file; one that is there only with `overwrite`.
    """
    open_dataset(dataset).close()
    if to != "aselmdb":
        return [require_target(target, inputs=(dataset,), overwrite=overwrite)]
    if target.exists() and not target.is_dir():
        raise InvalidRequest(f"--out must be a folder, {target} is a file; name another")
    if not target.exists():
        return [target / name for name in _LMDB_FILES]
    return [require_target(target / name, inputs=(dataset,), overwrite=overwrite) for name in _LMDB_FILES]


def export_extxyz(
    dataset: Path | str, target: Path | str, *, mace_keys: bool, indices: Indices | None = None, overwrite: bool = True
) -> int:
    """Write extended XYZ; with `mace_keys` the labels are REF_energy, REF_forces, REF_stress. The number of structures."""
    from ase.io.extxyz import write_extxyz  # as ase.db below, a second that no other command should wait for

    (path,) = require_place(Path(dataset), Path(target), "extxyz", overwrite=overwrite)
    n = 0
    with write_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for atoms in read_dataset(dataset, indices):
            atoms.info["origin"] = atoms.info["origin"].replace("\\", "\\\\")  # ASE escapes quotes alone, but un-escapes both
            write_extxyz(file, [_with_mace_keys(atoms) if mace_keys else atoms], write_results=not mace_keys)
            n += 1
    return n


def _with_mace_keys(atoms: Atoms) -> Atoms:
    results, atoms.calc = atoms.calc.results, None
    atoms.info["REF_energy"] = results["energy"]
    atoms.arrays["REF_forces"] = results["forces"]
    if "stress" in results:
        atoms.info["REF_stress"] = results["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    return atoms


def export_ase_db(dataset: Path | str, target: Path | str, *, indices: Indices | None = None, overwrite: bool = True) -> int:
    """Write an ASE database (SQLite) whose rows are 1, 2, …, as orb's finetune.py counts them. The number of structures.

    structure_id, source and system are key-value pairs, origin is in `data`; energy, forces and stress are float64. The database's
    metadata has `fitted_energies` and `isolated_atom_energies`, eV by chemical symbol (`distillery.dataset.element_energies`).
    """
    from ase.db import connect

    (path,) = require_place(Path(dataset), Path(target), "ase-db", overwrite=overwrite)
    with write_whole(path) as temporary, connect(temporary, type="db", append=False, use_lock_file=False) as database:
        database.metadata = describe_element_energies(dataset)
        return sum(_write_row(database, atoms) is not None for atoms in read_dataset(dataset, indices))


def export_aselmdb(dataset: Path | str, target: Path | str, *, indices: Indices | None = None, overwrite: bool = True) -> int:
    """Write a folder as fairchem's AseDBDataset reads it: `data.aselmdb` and `metadata.npz` (natoms). The number of structures.

    Rows are those of `export_ase_db`, with the id as `sid` in `data` too. Unavailable if ase-db-backends is not installed.
    """
    try:
        from ase_db_backends.aselmdb import LMDBDatabase
    except ImportError as error:
        raise Unavailable("ASE LMDBs need the package ase-db-backends: pip install 'distillery[training]'") from error
    path, metadata = require_place(Path(dataset), Path(target), "aselmdb", overwrite=overwrite)
    Path(target).mkdir(parents=True, exist_ok=True)
    n_atoms: list[int] = []
    with write_whole(path) as temporary:
        with LMDBDatabase(temporary, use_lock_file=False) as database:
            database.metadata = describe_element_energies(dataset)
            for atoms in read_dataset(dataset, indices):
                _write_row(database, atoms, sid=atoms.info["id"])
                n_atoms.append(len(atoms))
        metadata.unlink(missing_ok=True)  # a kill from here on leaves none rather than that of other structures
    with write_whole(metadata) as temporary, temporary.open("wb") as file:
        np.savez(file, natoms=np.array(n_atoms, dtype=np.int64))
    return len(n_atoms)


def _write_row(database: Any, atoms: Atoms, **data: str) -> int:
    """A row of an ASE database; `data` must not hold energy, forces or stress, which fairchem would take for the labels."""
    info = atoms.info
    keys = {"structure_id": info["id"], "source": info["source"], "system": info["system"]}
    row: int = database.write(atoms, data={"origin": json.loads(info["origin"]), **data}, **keys)
    return row


FORMATS = ("extxyz", "ase-db", "aselmdb")
SUFFIXES = {"extxyz": ".extxyz", "ase-db": ".db", "aselmdb": "-aselmdb"}
_LMDB_FILES = ("data.aselmdb", "metadata.npz")
