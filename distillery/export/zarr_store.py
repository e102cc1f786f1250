"""Zarr stores as nvalchemi-toolkit reads them (`AtomicDataZarrReader`): columns with pointers, no neighbours."""

from pathlib import Path
from typing import Any

import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from distillery.dataset.blocks import Block, Indices, count_structures, read_blocks, read_sizes
from distillery.errors import InvalidRequest, Unavailable
from distillery.export.hessian_products import has_hessians, multiply_hessians
from distillery.export.places import require_folder, write_folder_whole

STORE_FILES = ("zarr.json", "meta/*", "core/*", "custom/*")
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
    "charge": "system",
    "spin": "system",
    "dataset_row": "system",
    "atomic_energies": "atom",
    "teacher_hvp_probe": "atom",
    "teacher_hvp": "atom",
}
_CUSTOM = ("dataset_row", "atomic_energies", "teacher_hvp_probe", "teacher_hvp")
"""What the toolkit has no field of its own for."""


def export_zarr(dataset: Path | str, target: Path | str, *, indices: Indices | None = None, overwrite: bool = True) -> int:
    """Write a store; the number of structures.

    All numbers are float64 (the toolkit wants one kind), so that none is rounded: `batch.to(torch.float32)` for a model that is.
    stress, (n, 3, 3) eV/Å³, tensile positive, is nan where it has no meaning; `dataset_row` is the row in dataset.h5, `atomic_energies`
    are there where the dataset has them. Of Hessians there is the product with a random direction, by the names of the toolkit's
    `HessianMatchingLoss`: `teacher_hvp`, eV/Å², nan where there is none, and `teacher_hvp_probe` (`multiply_hessians`).
    Unavailable if zarr is not installed.
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
    groups = {name: root.create_group(name) for name in ("core", "custom")}
    fields: dict[str, dict[str, str]] = {name: {} for name in groups}
    at, with_products = 0, has_hessians(dataset)
    for block in read_blocks(dataset, rows):
        for name, values in (_make_columns(block) | (_make_products(dataset, block) if with_products else {})).items():
            group = "custom" if name in _CUSTOM else "core"
            if not at:
                fields[group][name] = _LEVELS[name]
                _create(groups[group], name, values, int(ends[-1]) if _LEVELS[name] == "atom" else len(rows))
            start = ends[at] if _LEVELS[name] == "atom" else at
            groups[group][name][start : start + len(values)] = values
        at += len(block)
    root.attrs.update({"num_samples": len(rows), "fields": fields})
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
        "dataset_row": block.indices,
        **({} if block.atomic_energies is None else {"atomic_energies": block.atomic_energies[:, None]}),
        "atomic_numbers": block.numbers,
        "positions": block.positions,
        "forces": block.forces.astype(np.float64),
        "cell": block.cells,
        "pbc": block.pbc,
        "energy": block.energy[:, None],
        "stress": voigt_6_to_full_3x3_stress(stress),
        **({} if block.charge is None or block.spin is None else {"charge": _as_column(block.charge), "spin": _as_column(block.spin)}),
    }


def _make_products(dataset: Path | str, block: Block) -> dict[str, NDArray[Any]]:
    return dict(zip(("teacher_hvp_probe", "teacher_hvp"), multiply_hessians(dataset, block), strict=True))


def _as_column(numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    return numbers[:, None].astype(np.float64)


def _create(group: Any, name: str, values: NDArray[Any], n: int) -> None:
    """A column of `n` rows of the kind of these."""
    group.create_array(name, shape=(n, *values.shape[1:]), chunks=(min(n, _CHUNK), *values.shape[1:]), dtype=values.dtype)
