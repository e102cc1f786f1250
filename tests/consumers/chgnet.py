"""chgnet: extended XYZ of crystals, by pymatgen's structures and VASP's stresses."""

from pathlib import Path

import numpy as np
from ase.io import read
from ase.units import GPa
from chgnet.data.dataset import StructureData
from pymatgen.io.ase import AseAtomsAdaptor

from tests.consumers.labels import Label, check


def load(folder: Path, side: str) -> list[Label]:
    """As its trainer gets them: energies of an atom, stresses in GPa."""
    images = read(folder / f"{side}.extxyz", ":")
    data = StructureData(
        [AseAtomsAdaptor.get_structure(atoms) for atoms in images],
        [atoms.get_potential_energy() / len(atoms) for atoms in images],
        [atoms.get_forces() for atoms in images],
        stresses=[-10 * atoms.get_stress(voigt=False) / GPa for atoms in images],
        shuffle=False,
    )
    found = [data[i] for i in range(len(data))]
    assert not data.failed_idx
    return [
        Label(float(own["e"]) * len(graph.atomic_number), own["f"].numpy(), own["s"].numpy().astype(np.float64) * GPa)
        for graph, own in found
    ]


check("chgnet", load, stress="needed where it is trained on; kbar, VASP's sign")
