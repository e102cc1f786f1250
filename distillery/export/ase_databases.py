"""ASE databases: SQLite, as orb reads it, and folders of LMDBs, as fairchem reads them."""

import json
import os
import sqlite3
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.blocks import Block, Indices, count_structures, read_blocks, read_sizes
from distillery.dataset.element_energies import describe_element_energies
from distillery.errors import InvalidRequest, Unavailable
from distillery.export.places import require_file, require_folder, write_folder_whole
from distillery.runtime.atomic_files import write_whole
from distillery.runtime.workers import STRUCTURES_A_WORKER, open_workers

LMDB_FILES = ("data*.aselmdb", "data*.aselmdb-lock", "metadata.npz")
SHARD_SIZE = 10_000
"""Structures an LMDB; fairchem's own sets have some 10,000 to 100,000."""

_COMMITTED = 500
"""Structures of a transaction of LMDB, whose pages lie in memory until it ends."""
_MAP_SIZE = 2**41
"""Bytes of addresses, as ase-db-backends has it. That opens a lock file too, which is mapped: on a full disk the process dies of it."""


def export_ase_db(dataset: Path | str, target: Path | str, *, indices: Indices | None = None, overwrite: bool = True) -> int:
    """Write an ASE database (SQLite) whose rows are 1, 2, …, as orb's finetune.py counts them. The number of structures.

    structure_id, source and system are key-value pairs; origin is in `data`, as are `charge` and `spin`, the multiplicity, of a dataset
    that has them: there fairchem looks for both; and `atomic_energies`, eV, of a structure that has them. Energy, forces and stress are
    float64. The database's metadata has `fitted_energies` and `isolated_atom_energies`, eV by chemical symbol
    (`distillery.dataset.element_energies`).
    """
    path = require_file(Path(dataset), Path(target), overwrite=overwrite)
    with write_whole(path) as temporary:
        return write_ase_db(temporary, dataset, indices)


def write_ase_db(path: Path, dataset: Path | str, indices: Indices | None) -> int:
    """Write a file; the number of structures."""
    from ase.db import connect  # half a second that no other command should wait for

    n = 0
    try:
        with connect(path, type="db", append=False, use_lock_file=False) as database:
            database.metadata = describe_element_energies(dataset)
            for block in read_blocks(dataset, indices):
                for k in range(len(block)):
                    _write_row(database, block, k)
                n += len(block)
    except sqlite3.Error as error:
        raise _explain(error) from error
    return n


def _explain(error: Exception) -> Unavailable:
    return Unavailable(f"the ASE database can't be written: {error}; see that there is room, then try again")


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
    rows = np.arange(count_structures(dataset)) if indices is None else np.asarray(indices, dtype=np.int64)
    shards = [rows[start : start + shard_size] for start in range(0, max(len(rows), 1), shard_size)]
    names = ["data.aselmdb"] if len(shards) == 1 else [f"data.{number:04d}.aselmdb" for number in range(len(shards))]
    places = [folder / name for name in names]
    with open_workers(len(shards) * STRUCTURES_A_WORKER if len(rows) > STRUCTURES_A_WORKER else 0) as each:
        deque(each(partial(_write_lmdb, dataset, describe_element_energies(dataset)), zip(places, shards, strict=True)), 0)
    np.savez(folder / "metadata.npz", natoms=read_sizes(dataset)[rows])
    return len(rows)


def _write_lmdb(dataset: Path | str, metadata: dict[str, Any], own: tuple[Path, NDArray[np.int64]]) -> None:
    """Write the structures at these rows to an LMDB at this path."""
    try:
        import lmdb
        from ase_db_backends.aselmdb import LMDBDatabase
    except ImportError as error:
        raise Unavailable("ASE LMDBs need the package ase-db-backends: pip install 'distillery[training]'") from error

    class Unlocked(LMDBDatabase):  # type: ignore[misc]  # the package has no types
        """It opens no lock file."""

        def _open_lmdb_env(self) -> None:
            self._env = lmdb.open(str(path), map_size=_MAP_SIZE, subdir=False, meminit=False, map_async=True, lock=False)
            self._env_pid = os.getpid()

        def close(self) -> None:
            if self._env is not None:
                self._env.close()

    path, rows = own
    try:
        with Unlocked(path, use_lock_file=False) as database:
            database.metadata = metadata
            n = 0
            for block in read_blocks(dataset, rows):
                for k in range(len(block)):
                    _write_row(database, block, k, sid=block.texts["id"][k])
                    n += 1
                    if n % _COMMITTED == 0:
                        database.txn.commit()
                        database.txn = database.env.begin(write=True)
    except lmdb.Error as error:
        raise _explain(error) from error


def _write_row(database: Any, block: Block, k: int, **data: Any) -> None:
    """A row of an ASE database; `data` must not hold energy, forces or stress, which fairchem would take for the labels."""
    texts = {name: own[k] for name, own in block.texts.items()}
    if block.charge is not None and block.spin is not None:
        data |= {"charge": int(block.charge[k]), "spin": int(block.spin[k])}
    if block.atomic_energies is not None and block.has_atomic_energies[k]:
        data["atomic_energies"] = block.atomic_energies[block.rows(k)]  # SQLite has no column for ASE's `energies`
    keys = {"structure_id": texts["id"], "source": texts["source"], "system": texts["system"]}
    database.write(make_row(block, k), data={"origin": json.loads(texts["origin"]), **data}, **keys)


def make_row(block: Block, k: int) -> Any:
    """Structure k as ASE makes the row of atoms with a calculator that holds its labels.

    ASE compares the atoms with the calculator's anew for each of ten properties, which takes as long as all else of writing a row.
    """
    from ase.db.core import now
    from ase.db.row import AtomsRow

    rows = block.rows(k)
    values: dict[str, Any] = {"numbers": block.numbers[rows], "positions": block.positions[rows], "unique_id": uuid4().hex}
    values |= {"pbc": block.pbc[k]} if block.pbc[k].any() else {}
    values |= {"cell": block.cells[k]} if block.cells[k].any() else {}
    values |= {"calculator": "unknown", "calculator_parameters": {}}
    values |= {"energy": float(block.energy[k]), "forces": block.forces[rows].astype(np.float64)}
    values |= {"stress": block.stress[k]} if block.has_stress[k] else {}
    row: Any = AtomsRow(values)
    row.ctime, row.user = now(), os.getenv("USER")
    return row
