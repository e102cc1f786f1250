"""Handing a dataset on: extended XYZ (plain or with MACE's keys) and ASE databases."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect
from ase.io.extxyz import write_extxyz

from contract.problems import InvalidRequest

REQUIRED = ("structures/atomic_numbers", "structures/positions", "labels/energy", "labels/forces", "provenance/id")


def read_dataset(path: Path) -> Iterator[Atoms]:
    """The structures of a dataset one by one as ASE atoms with a calculator that holds the labels (eV, eV/Å, eV/Å³).

    `info` has id, source, system and origin (JSON); stress is there only where it has a meaning.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InvalidRequest(f"{path} can't be read as HDF5: {error}") from error
    with file:
        missing = [name for name in REQUIRED if name not in file]
        if missing:
            raise InvalidRequest(f"{path} is no Distillery dataset: it has no {', '.join(missing)}")
        splits = file["structures/atomic_numbers_splits"][:]
        texts = {name: file[f"provenance/{name}"].asstr()[:] for name in ("id", "source", "system", "origin")}
        for i in range(len(splits) - 1):
            yield _read_one(file, i, slice(splits[i], splits[i + 1]), {name: str(text[i]) for name, text in texts.items()})


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


def export_extxyz(dataset: Path, target: Path, *, mace_keys: bool) -> int:
    """Write extended XYZ; with `mace_keys` the labels are REF_energy, REF_forces, REF_stress. The number of structures."""
    prepare = _with_mace_keys if mace_keys else _plain

    def write(temporary: Path) -> int:
        n = 0
        with temporary.open("w", encoding="utf-8") as file:
            for atoms in read_dataset(dataset):
                write_extxyz(file, [prepare(atoms)], write_results=not mace_keys)
                n += 1
        return n

    return _write_whole(target, write)


def _plain(atoms: Atoms) -> Atoms:
    return atoms


def _with_mace_keys(atoms: Atoms) -> Atoms:
    results, atoms.calc = atoms.calc.results, None
    atoms.info["REF_energy"] = results["energy"]
    atoms.arrays["REF_forces"] = results["forces"]
    if "stress" in results:
        atoms.info["REF_stress"] = results["stress"][[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    return atoms


def export_ase_db(dataset: Path, target: Path) -> int:
    """Write an ASE database (SQLite); id, source and system are key-value pairs, origin is in `data`. The number of structures."""

    def write(temporary: Path) -> int:
        n = 0
        with connect(temporary, type="db", append=False) as database:
            for atoms in read_dataset(dataset):
                info = atoms.info
                keys = {"structure_id": info["id"], "source": info["source"], "system": info["system"]}
                database.write(atoms, data={"origin": json.loads(info["origin"])}, **keys)
                n += 1
        return n

    return _write_whole(target, write)


def _write_whole(target: Path, write: Callable[[Path], int]) -> int:
    """Write beside the target, then give it its name: a broken export leaves nothing behind."""
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        n = write(temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return n


FORMATS = ("extxyz", "ase-db")
SUFFIXES = {"extxyz": ".extxyz", "ase-db": ".db"}
