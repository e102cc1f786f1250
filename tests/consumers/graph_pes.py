"""graph-pes: extended XYZ."""

from pathlib import Path

import torch
from graph_pes.data.datasets import file_dataset

from tests.consumers.labels import Label, check

torch.set_default_dtype(torch.float64)


def load(folder: Path, side: str) -> list[Label]:
    """As a configuration's `file_dataset` reads it."""
    names = {"REF_energy": "energy", "REF_forces": "forces"}
    data = file_dataset(folder / f"{side}.extxyz", cutoff=5.0, shuffle=False, pre_transform=False, property_map=names)
    return [Label(float(data[i].properties["energy"]), data[i].properties["forces"].numpy(), None) for i in range(len(data))]


check("graph-pes", load, stress="left out of mixed sets; with --with-stress used", with_stress=False)
