"""matgl: extended XYZ of crystals."""

from pathlib import Path

import numpy as np
from ase.units import GPa
from matgl.utils.training import MGLDatasetLoader

from tests.consumers.labels import Label, check


def load(folder: Path, side: str) -> list[Label]:
    """As its own reader reads it; stresses in GPa."""
    labels = MGLDatasetLoader.from_extxyz(folder / f"{side}.extxyz", save_cache=False, root=str(folder / "graphs")).labels
    columns = (labels["energies"], labels["forces"], labels["stresses"])
    return [Label(float(e), np.array(f), np.array(s).reshape(3, 3) * GPa) for e, f, s in zip(*columns, strict=True)]


check("matgl", load, stress="all structures need one, or none")
