"""Zarr stores as nvalchemi-toolkit reads them (`AtomicDataZarrReader`): columns with pointers, no neighbours."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.blocks import Block, Indices, count_structures, read_blocks, read_sizes
from distillery.errors import InvalidRequest, Unavailable
from distillery.export.places import require_folder, write_folder_whole

STORE_FILES = ("zarr.json", "meta/*", "core/*", "custom/*")
_FULL = [0, 5, 4, 5, 1, 3, 4, 3, 2]
_CHUNK = 4096
"""Rows a chunk."""
_LEVELS = {
    "atomic_numbers": "atom",
    "positions": "atom",
    "forces": "atom",
    "cell": "system",
    "pbc": "system",
    "energy": "system",
    "stress": "system",
}


def export_zarr(dataset: Path | str, target: Path | str, *, indices: Indices | None = None, overwrite: bool = True) -> int:
    """Write a store; the number of structures.

    All numbers are float64 (the toolkit wants one kind), so that none is rounded: `batch.to(torch.float32)` for a model that is.
    stress, (n, 3, 3) eV/Å³, tensile positive, is nan where it has no meaning; `dataset_row` is the row in dataset.h5. Unavailable
    if zarr is not installed.
    """
    folder = require_folder(Path(dataset), Path(target), STORE_FILES, overwrite=overwrite)
    with write_folder_whole(folder) as temporary:
        return write_zarr(temporary, dataset, indices)


def write_zarr(folder: Path, dataset: Path | str, indices: Indices | None) -> int:
    """Fill a folder, made if it is not there; the number of structures."""
    try:
        import zarr
    except ImportError as error:
        raise Unavailable("Zarr stores need the package zarr: pip install 'zarr>=3'") from error
    rows = np.arange(count_structures(dataset)) if indices is None else np.asarray(indices, dtype=np.int64)
    if not rows.size:
        raise InvalidRequest(f"a Zarr store needs a structure, and none of {dataset} is left")
    ends = np.concatenate([[0], np.cumsum(read_sizes(dataset)[rows])])
    root: Any = zarr.open_group(folder, mode="w")
    _write_pointers(root.create_group("meta"), ends)
    core, custom = root.create_group("core"), root.create_group("custom")
    at = 0
    for block in read_blocks(dataset, rows):
        columns = _make_columns(block)
        if not at:
            _create(core, columns, n_structures=len(rows), n_atoms=int(ends[-1]))
            _create(custom, {"dataset_row": rows}, n_structures=len(rows), n_atoms=0)
        for name, values in columns.items():
            start = ends[at] if _LEVELS[name] == "atom" else at
            core[name][start : start + len(values)] = values
        at += len(block)
    custom["dataset_row"][:] = rows
    root.attrs.update({"num_samples": len(rows), "fields": {"core": _LEVELS, "custom": {"dataset_row": "system"}}})
    return len(rows)


def _write_pointers(group: Any, ends: NDArray[np.int64]) -> None:
    """Where each structure's atoms begin; that none is deleted; that there are no edges."""
    n_structures, n_atoms = len(ends) - 1, int(ends[-1])
    for name, values in {
        "atoms_ptr": ends.astype(np.int64),
        "edges_ptr": np.zeros_like(ends, dtype=np.int64),
        "samples_mask": np.ones(n_structures, bool),
        "atoms_mask": np.ones(n_atoms, bool),
        "edges_mask": np.ones(0, bool),
    }.items():
        group.create_array(name, data=values)


def _make_columns(block: Block) -> dict[str, NDArray[Any]]:
    stress = np.where(block.has_stress[:, None], block.stress, np.nan)
    return {
        "atomic_numbers": block.numbers,
        "positions": block.positions,
        "forces": block.forces.astype(np.float64),
        "cell": block.cells,
        "pbc": block.pbc,
        "energy": block.energy[:, None],
        "stress": stress[:, _FULL].reshape(-1, 3, 3),
    }


def _create(group: Any, columns: dict[str, NDArray[Any]], *, n_structures: int, n_atoms: int) -> None:
    for name, values in columns.items():
        n = n_atoms if _LEVELS.get(name) == "atom" else n_structures
        group.create_array(name, shape=(n, *values.shape[1:]), chunks=(min(n, _CHUNK), *values.shape[1:]), dtype=values.dtype)
