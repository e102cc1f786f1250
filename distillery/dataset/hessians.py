"""The Hessians of a dataset, of those of its structures that have one."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import HESSIAN_SPLITS, HESSIANS, open_dataset
from distillery.errors import InvalidRequest


def read_hessians(path: Path | str, indices: "list[int] | NDArray[np.int64] | None" = None) -> Iterator[NDArray[np.float32] | None]:
    """The Hessian of each structure, eV/Å², shape (3 n_atoms, 3 n_atoms), None where it has none.

    Rows and columns are x, y, z of the first atom, then of the next. `indices` says which structures and in which order; all if absent.
    InvalidRequest if the file is no dataset, has no Hessians, or no such index.
    """
    with open_dataset(path) as file:
        if HESSIANS not in file:
            raise InvalidRequest(f"{path} has no Hessians; a recipe asks for them by `labels: [energy, forces, stress, hessian]`")
        splits = file[HESSIAN_SPLITS][:]
        rows = np.arange(len(splits) - 1) if indices is None else np.asarray(indices, np.int64)
        if wrong := [row for row in rows.tolist() if not 0 <= row < len(splits) - 1]:
            raise InvalidRequest(f"{path} has structures 0 to {len(splits) - 2}, not {wrong[0]}")
        for row in rows.tolist():
            entries = file[HESSIANS][splits[row] : splits[row + 1]]
            yield entries.reshape(round(len(entries) ** 0.5), -1) if len(entries) else None
