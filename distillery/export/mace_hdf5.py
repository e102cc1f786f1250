"""MACE's preprocessed HDF5: files of structures that are read one by one while it trains, for sets that don't fit into memory."""

from collections import deque
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from distillery.dataset.blocks import Block, read_blocks
from distillery.runtime.workers import STRUCTURES_A_WORKER, open_workers

_BATCH = 64
"""Structures a group; all groups of a file have as many."""
_FILE = 128 * _BATCH
"""Structures a file at most."""


def write_mace_hdf5(folder: Path, dataset: Path | str, rows: NDArray[np.int64]) -> None:
    """Fill a folder, made here, with files as `mace_prepare_data` writes them: groups of 64, what is left over in a file of its own.

    A side is the end of its files' names: of the test side MACE reads only `*_test.h5`.
    """
    folder.mkdir()
    whole = len(rows) - len(rows) % _BATCH
    parts = [*(rows[start : min(start + _FILE, whole)] for start in range(0, whole, _FILE)), rows[whole:]]
    places = [folder / f"{number}_{folder.name}.h5" for number in range(len(parts))]
    with open_workers(len(rows) // _FILE * STRUCTURES_A_WORKER) as each:
        deque(each(partial(_write_file, dataset), [(path, part) for path, part in zip(places, parts, strict=True) if part.size]), 0)


def _write_file(dataset: Path | str, own: tuple[Path, NDArray[np.int64]]) -> None:
    """Write the structures at these rows to this path."""
    path, rows = own
    with h5py.File(path, "w") as file:
        file.attrs["drop_last"] = False
        for k, values in enumerate(_list_structures(dataset, rows)):
            group = file.require_group(f"config_batch_{k // _BATCH}").create_group(f"config_{k % _BATCH}")
            for name, value in values.items():
                group[name] = value


def _list_structures(dataset: Path | str, rows: NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    for block in read_blocks(dataset, rows):
        yield from (_describe(block, k) for k in range(len(block)))


def _describe(block: Block, k: int) -> dict[str, Any]:
    """The datasets of a structure's group; a label that is missing is the text None, of no weight."""
    atoms, has_stress = block.rows(k), bool(block.has_stress[k])
    return {
        "atomic_numbers": block.numbers[atoms],
        "positions": block.positions[atoms],
        "cell": block.cells[k],
        "pbc": block.pbc[k],
        "weight": 1.0,
        "config_type": block.texts["source"][k],
        "properties/energy": block.energy[k],
        "properties/forces": block.forces[atoms].astype(np.float64),
        "properties/stress": voigt_6_to_full_3x3_stress(block.stress[k]) if has_stress else "None",
        "property_weights/energy": 1.0,
        "property_weights/forces": 1.0,
        "property_weights/stress": float(has_stress),
        **_describe_state(block, k),
    }


def _describe_state(block: Block, k: int) -> dict[str, float]:
    """Charge and spin multiplicity, in a dataset that has them."""
    if block.charge is None or block.spin is None:
        return {}
    state = {"total_charge": float(block.charge[k]), "total_spin": float(block.spin[k])}
    return {f"properties/{name}": value for name, value in state.items()} | {f"property_weights/{name}": 1.0 for name in state}
