"""mace-torch: extended XYZ and HDF5."""

from pathlib import Path

import numpy as np
from mace.data import KeySpecification
from mace.data.hdf5_dataset import HDF5Dataset
from mace.data.utils import load_from_xyz
from mace.tools.utils import AtomicNumberTable

from tests.consumers.labels import Label, check


def load(folder: Path, side: str) -> list[Label]:
    """As `mace_run_train` reads it; the weight of a stress that is missing must be 0."""
    return load_hdf5(folder / side) if (folder / side).is_dir() else load_text(folder / f"{side}.extxyz")


def load_text(path: Path) -> list[Label]:
    found = []
    for configuration in load_from_xyz(str(path), KeySpecification.from_defaults())[1]:
        properties, weights = configuration.properties, configuration.property_weights
        assert configuration.config_type in {"molecules", "crystals", "clusters", "surfaces"}
        stress = properties["stress"].reshape(3, 3) if weights["stress"] else None
        found.append(Label(float(properties["energy"]), properties["forces"], stress))
    return found


def load_hdf5(folder: Path) -> list[Label]:
    table = AtomicNumberTable(list(range(1, 20)))
    found = []
    for path in sorted(folder.iterdir()):
        own = HDF5Dataset(str(path), r_max=5.0, z_table=table)
        for data in (own[k] for k in range(len(own))):
            stress = data.stress[0].numpy() if float(data.stress_weight) else None
            found.append(Label(float(data.energy), data.forces.numpy().astype(np.float64), stress))
    return found


check("mace-torch", load, stress="where there is one; else weight 0")
