"""The structures of a dataset that were labelled last, for a person to look at."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distillery.dataset.folder import PARTS
from distillery.dataset.layout import Arrays, make_structure
from distillery.dataset.parts import read_part
from distillery.schema.dataset import SeenStructure
from distillery.structures.structure import to_ase


def read_latest(folder: Path, n: int) -> list[SeenStructure]:
    """At most `n`, of the parts that were written last, the newest first; CorruptPart or Unavailable names a part that can't be read."""
    found = list[SeenStructure]()
    for path in sorted((folder / PARTS).glob("[!.]*.h5"), key=_find_time, reverse=True):
        found += list(_list_structures(read_part(path).arrays, n - len(found)))
        if len(found) == n:
            break
    return found


def _find_time(part: Path) -> int:
    """When a part was written, Unix time, ns; that of a link which leads nowhere, for `read_part` to refuse it by name."""
    return part.lstat().st_mtime_ns


def _list_structures(arrays: Arrays, n: int) -> Iterator[SeenStructure]:
    splits = arrays["structures/atomic_numbers_splits"]
    n_there = len(splits) - 1
    for i in range(n_there - 1, max(n_there - n, 0) - 1, -1):
        structure, forces = make_structure(arrays, i), arrays["labels/forces"][splits[i] : splits[i + 1]].astype(np.float64)
        yield SeenStructure(
            id=structure.id,
            source=str(arrays["provenance/source"][i]),
            system=structure.system,
            formula=to_ase(structure).get_chemical_formula(),
            symbols=structure.symbols,
            positions=np.round(structure.positions, 4).tolist(),
            cell=np.round(structure.cell, 4).tolist() if structure.is_periodic else None,
            charge=structure.charge,
            multiplicity=structure.multiplicity,
            energy_per_atom=float(arrays["labels/energy"][i]) / len(structure),
            largest_force=float(np.linalg.norm(forces, axis=1).max(initial=0.0)),
            forces=np.round(forces, 4).tolist(),
        )
