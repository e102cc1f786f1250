"""ASE databases: SQLite, as orb reads it, and folders of LMDBs, as fairchem reads them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from distillery.dataset.blocks import Indices, count_structures
from distillery.dataset.element_energies import describe_element_energies
from distillery.dataset.reading import read_dataset
from distillery.errors import InvalidRequest, Unavailable
from distillery.export.places import require_file, require_folder, write_folder_whole
from distillery.runtime.atomic_files import write_whole

LMDB_FILES = ("data*.aselmdb", "data*.aselmdb-lock", "metadata.npz")
SHARD_SIZE = 10_000
"""Structures an LMDB; fairchem's own sets have some 10,000 to 100,000."""

_COMMITTED = 500
"""Structures of a transaction of LMDB, whose pages lie in memory until it ends."""


def export_ase_db(dataset: Path | str, target: Path | str, *, indices: Indices | None = None, overwrite: bool = True) -> int:
    """Write an ASE database (SQLite) whose rows are 1, 2, …, as orb's finetune.py counts them. The number of structures.

    structure_id, source and system are key-value pairs; origin is in `data`, as are `charge` and `spin`, the multiplicity, of a dataset
    that has them: there fairchem looks for both; energy, forces and stress are float64. The database's
    metadata has `fitted_energies` and `isolated_atom_energies`, eV by chemical symbol (`distillery.dataset.element_energies`).
    """
    path = require_file(Path(dataset), Path(target), overwrite=overwrite)
    with write_whole(path) as temporary:
        return write_ase_db(temporary, dataset, indices)


def write_ase_db(path: Path, dataset: Path | str, indices: Indices | None) -> int:
    """Write a file; the number of structures."""
    from ase.db import connect  # half a second that no other command should wait for

    with connect(path, type="db", append=False, use_lock_file=False) as database:
        database.metadata = describe_element_energies(dataset)
        return sum(_write_row(database, atoms) is not None for atoms in read_dataset(dataset, indices))


def export_aselmdb(
    dataset: Path | str,
    target: Path | str,
    *,
    indices: Indices | None = None,
    overwrite: bool = True,
    shard_size: int = SHARD_SIZE,
) -> int:
    """Write a folder as fairchem's AseDBDataset reads it: LMDBs of `shard_size` structures, `metadata.npz` (natoms). How many.

    One LMDB is `data.aselmdb`, several are `data.0000.aselmdb`, …; natoms follows their order. Rows are those of `export_ase_db`,
    with the id as `sid` in `data` too. Unavailable if ase-db-backends is not installed.
    """
    if shard_size < 1:
        raise InvalidRequest(f"--shard-size must be at least 1 structure, got {shard_size}")
    folder = require_folder(Path(dataset), Path(target), LMDB_FILES, overwrite=overwrite)
    with write_folder_whole(folder) as temporary:
        return write_lmdbs(temporary, dataset, indices, shard_size)


def write_lmdbs(folder: Path, dataset: Path | str, indices: Indices | None, shard_size: int) -> int:
    """Fill a folder with LMDBs and their metadata; the number of structures."""
    rows = np.arange(count_structures(dataset)) if indices is None else np.asarray(indices)
    shards = [rows[start : start + shard_size] for start in range(0, max(len(rows), 1), shard_size)]
    metadata = describe_element_energies(dataset)
    n_atoms: list[int] = []
    for number, shard in enumerate(shards):
        name = "data.aselmdb" if len(shards) == 1 else f"data.{number:04d}.aselmdb"
        n_atoms += _write_lmdb(folder / name, read_dataset(dataset, shard), metadata)
    np.savez(folder / "metadata.npz", natoms=np.array(n_atoms, dtype=np.int64))
    return len(n_atoms)


def _write_lmdb(path: Path, structures: Iterable[Atoms], metadata: dict[str, Any]) -> list[int]:
    """Write an LMDB; the number of atoms of each structure."""
    try:
        from ase_db_backends.aselmdb import LMDBDatabase
    except ImportError as error:
        raise Unavailable("ASE LMDBs need the package ase-db-backends: pip install 'distillery[training]'") from error
    n_atoms = []
    with LMDBDatabase(path, use_lock_file=False) as database:
        database.metadata = metadata
        for atoms in structures:
            _write_row(database, atoms, sid=atoms.info["id"])
            n_atoms.append(len(atoms))
            if len(n_atoms) % _COMMITTED == 0:
                database.txn.commit()
                database.txn = database.env.begin(write=True)
    path.with_name(f"{path.name}-lock").unlink(missing_ok=True)
    return n_atoms


def _write_row(database: Any, atoms: Atoms, **data: Any) -> int:
    """A row of an ASE database; `data` must not hold energy, forces or stress, which fairchem would take for the labels."""
    info = atoms.info
    data |= {name: info[name] for name in ("charge", "spin") if name in info}
    keys = {"structure_id": info["id"], "source": info["source"], "system": info["system"]}
    row: int = database.write(atoms, data={"origin": json.loads(info["origin"]), **data}, **keys)
    return row
