"""sevenn: extended XYZ as ASE reads it."""

from pathlib import Path

import numpy as np
from sevenn.train.dataload import ase_reader

from tests.consumers.labels import Label, check

MATRIX = [0, 3, 5, 3, 1, 4, 5, 4, 2]
"""Of its order xx yy zz xy yz zx."""


def load(folder: Path, side: str) -> list[Label]:
    """As its `data_format: ase` reads it; it keeps the negative stress."""
    found = []
    for atoms in ase_reader(str(folder / f"{side}.extxyz"), index=":"):
        info = atoms.info
        stress = -np.asarray(info["y_stress"])[MATRIX].reshape(3, 3)
        found.append(Label(float(info["y_energy"]), atoms.arrays["y_force"], stress))
    return found


check("sevenn", load, stress="where there is one; else nan, ignored")
