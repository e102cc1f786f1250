"""Datasets of other programs in the layout that dataset.h5 took over: structures and labels, but not where they are from."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import (
    ALL_COLUMNS,
    COLUMNS,
    HESSIAN_SPLITS,
    HESSIANS,
    LAYOUT_VERSION,
    STATE,
    Arrays,
    choose_columns,
    describe_columns,
    find_hollow,
    list_optional,
    name_damage,
)
from distillery.dataset.output_file import require_target
from distillery.dataset.sealed_file import write_atomically
from distillery.errors import InvalidRequest
from distillery.runtime.canonical_json import canonical_json
from distillery.runtime.visible_text import make_visible
from distillery.structures.identity import digest_structures, structure_hash
from distillery.structures.structure import Structure

SERVICE = "imported"
_NEEDED = tuple(name for name in COLUMNS if not name.startswith("provenance/"))
_LEFT_OUT = (HESSIANS, HESSIAN_SPLITS)
_BLOCK = 1 << 20


def import_dataset(source: Path, target: Path, *, overwrite: bool = False) -> int:
    """Write a dataset.h5 of structures and labels in `source`; the number of structures.

    Each gets the id `<name of the file>/<n>`, the file's name as its source, and in `origin` the row it had. What has no
    periodicity is a molecule, all else a crystal: the file does not tell clusters and surfaces from those. The labels' teacher and
    other attributes are kept as the file has them, under `imported`; Hessians are not taken. InvalidRequest: a column is missing or
    makes no sense.
    """
    path = require_target(target, inputs=(source,), overwrite=overwrite)
    arrays, attributes = _read(source)
    _refuse_nonsense(source, arrays)
    arrays |= _describe(source, arrays)
    attributes["structures_sha256"] = digest_structures(arrays["provenance/id"], arrays["provenance/structure_hash"])

    def fill(file: h5py.File) -> None:
        for name, column in choose_columns(arrays).items():
            file.create_dataset(name, data=arrays[name], dtype=column.dtype, chunks=True if arrays[name].size else None)
        describe_columns(file)
        file.create_group("metadata").attrs.update(attributes)

    write_atomically(path, fill, replace=True)
    return len(arrays["labels/energy"])


def _read(source: Path) -> tuple[Arrays, dict[str, Any]]:
    """The columns of the structures that have a label, and the attributes of the new file."""
    with name_damage(source), h5py.File(source, "r") as file:
        missing = [name for name in _NEEDED if name not in file]
        if missing:
            raise InvalidRequest(f"{source} can't be imported: it has no {', '.join(missing)}; docs/dataset.md has them")
        if (hollow := find_hollow(file, ALL_COLUMNS)) is not None:
            raise InvalidRequest(f"{source} can't be imported: {hollow}")
        arrays = {name: file[name][:] for name in (*_NEEDED, *(name for name in list_optional(file) if name not in _LEFT_OUT))}
        found = {name: make_visible(str(value)) for name, value in file["metadata"].attrs.items()} if "metadata" in file else {}
        chosen = arrays["labels/structure_indices"].astype(np.int64)
        _pick(source, arrays, chosen)
    n = len(chosen)
    attributes = {
        "num_structures": n,
        "total_atoms": len(arrays["structures/atomic_numbers"]),
        "teacher_model": found.get("teacher_model", "not recorded"),
        "layout_version": LAYOUT_VERSION,
        "imported": canonical_json({"file": source.name, "sha256": _digest(source), "attributes": found}),
    }
    return arrays, attributes


def _pick(source: Path, arrays: Arrays, chosen: NDArray[np.int64]) -> None:
    """Keep the structures that labels are of, in the labels' order; InvalidRequest if they do not fit each other."""
    splits = arrays["structures/atomic_numbers_splits"]
    n_structures = len(splits) - 1
    if chosen.size and not 0 <= chosen.min() <= chosen.max() < n_structures:
        raise InvalidRequest(f"{source} has labels of structures {chosen.min()} to {chosen.max()}, and {n_structures} structures")
    n_atoms = np.diff(splits)[chosen]
    if not np.array_equal(n_atoms, np.diff(arrays["labels/forces_splits"])):
        raise InvalidRequest(f"{source} has forces of other numbers of atoms than its structures: see labels/forces_splits")
    starts = np.concatenate([[0], np.cumsum(n_atoms)])
    rows = np.repeat(splits[chosen] - starts[:-1], n_atoms) + np.arange(starts[-1])
    for name in ("structures/atomic_numbers", "structures/positions"):
        arrays[name] = arrays[name][rows]  # labels, energies of atoms among them, are in the labels' order already
    for name in ("structures/cells", "structures/pbc", *(name for name in STATE if name in arrays)):
        arrays[name] = arrays[name][chosen]
    arrays["structures/atomic_numbers_splits"] = arrays["labels/forces_splits"] = starts.astype(np.int64)
    arrays["labels/structure_indices"] = np.arange(len(chosen))


def _describe(source: Path, arrays: Arrays) -> Arrays:
    """The columns of provenance."""
    name, n = source.stem, len(arrays["labels/energy"])
    systems = np.where(arrays["structures/pbc"].any(axis=1), "crystal", "molecule")
    texts = {
        "id": [f"{name}/{i:06d}" for i in range(n)],
        "source": [name] * n,
        "service": [SERVICE] * n,
        "system": systems.tolist(),
        "shard": [name] * n,
        "structure_hash": [_hash(source, arrays, i) for i in range(n)],
        "origin": [json.dumps({"row": i}) for i in range(n)],
    }
    return {f"provenance/{column}": np.array(values, dtype=object) for column, values in texts.items()}


def _hash(source: Path, arrays: Arrays, i: int) -> str:
    try:
        return structure_hash(_make_structure(arrays, i))
    except ValueError as error:
        raise InvalidRequest(f"row {i} of {source} is no structure: {error}; leave it out first") from error


def _make_structure(arrays: Arrays, i: int) -> Structure:
    rows = slice(*arrays["structures/atomic_numbers_splits"][i : i + 2])
    a, b, c = arrays["structures/pbc"][i]
    charge, multiplicity = (int(arrays[name][i]) if name in arrays else 0 for name in STATE)
    return Structure(
        id=str(i),
        numbers=arrays["structures/atomic_numbers"][rows].astype(np.uint8),
        positions=arrays["structures/positions"][rows].astype(np.float64),
        cell=arrays["structures/cells"][i].astype(np.float64),
        pbc=(bool(a), bool(b), bool(c)),
        system="crystal" if a or b or c else "molecule",
        charge=charge,
        multiplicity=multiplicity,
    )


def _refuse_nonsense(source: Path, arrays: Arrays) -> None:
    for name in ("structures/positions", "structures/cells", "labels/energy", "labels/forces"):
        if not np.isfinite(arrays[name]).all():
            raise InvalidRequest(f"{source} has numbers in {name} that are not finite; leave those structures out first")
    lengths = {name: len(arrays[name]) for name in _NEEDED if COLUMNS[name].rows == "structure"}
    if len(set(lengths.values())) > 1:
        raise InvalidRequest(f"{source} has columns of different lengths: {lengths}")
    numbers = arrays["structures/atomic_numbers"]
    if numbers.size and not 1 <= numbers.min() <= numbers.max() <= 118:
        raise InvalidRequest(f"{source} has atomic numbers from {numbers.min()} to {numbers.max()}")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while content := file.read(_BLOCK):
            digest.update(content)
    return digest.hexdigest()
