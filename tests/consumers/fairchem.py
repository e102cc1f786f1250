"""fairchem-core: LMDBs, those with a stress apart."""

from pathlib import Path

import numpy as np
import torch
from fairchem.core.datasets import AseDBDataset

from tests.consumers.labels import Label, check, read_arguments


def load(folder: Path, side: str) -> list[Label]:
    """As an `ase_db` dataset reads it, both datasets put in the order of the rows by their ids."""
    import h5py

    _, dataset, rows = read_arguments()
    with h5py.File(dataset) as file:
        ids = file["provenance/id"].asstr()[:]
    found = {}
    for name in ("periodic", "finite"):
        data = AseDBDataset({"src": str(folder / side / name), "a2g_args": {"target_dtype": torch.float64}})
        assert data.metadata_hasattr("natoms")
        for one in data:
            stress = one.stress[0].numpy() if name == "periodic" else None
            found[one.sid[0]] = Label(float(one.energy), one.forces.numpy().astype(np.float64), stress)
    return [found[ids[i]] for i in rows[side]]


check("fairchem-core", load, stress="a dataset of those that have one; no task of the other")
