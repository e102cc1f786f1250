"""Moving a structure off equilibrium: labels at perfect equilibrium teach no forces."""

from dataclasses import replace

import numpy as np

from distillery.schema.generate import Perturb
from distillery.structures.structure import Structure


def perturb_structure(structure: Structure, perturb: Perturb, rng: np.random.Generator) -> Structure:
    """The structure, strained and rattled as `perturb` says; what was done is written to `origin["perturb"]`.

    Strain is a random symmetric tensor with components uniform in [-strain, strain]; slabs are strained in their
    plane only, so that the vacuum stays. Positions follow the strain, then each coordinate gets a Gaussian
    displacement of standard deviation `rattle` Å.
    """
    if (perturb.rattle == 0 and perturb.strain == 0) or rng.random() >= perturb.share:
        return structure
    cell, positions = structure.cell, structure.positions
    done: dict[str, object] = {}
    if perturb.strain > 0 and structure.is_periodic:
        strain = _random_strain(structure, perturb.strain, rng)
        deformation = np.eye(3) + strain
        cell, positions = cell @ deformation, positions @ deformation
        done["strain"] = [float(x) for x in strain[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]]
    if perturb.rattle > 0:
        positions = positions + rng.normal(scale=perturb.rattle, size=positions.shape)
        done["rattle"] = perturb.rattle
    return replace(structure, cell=cell, positions=positions, origin={**structure.origin, "perturb": done})


def _random_strain(structure: Structure, largest: float, rng: np.random.Generator) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    raw = rng.uniform(-largest, largest, (3, 3))
    symmetric = np.triu(raw) + np.triu(raw, 1).T
    if structure.system != "surface":
        return symmetric
    normal = np.cross(structure.cell[0], structure.cell[1])
    normal /= np.linalg.norm(normal)
    in_plane = np.eye(3) - np.outer(normal, normal)
    flat: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = in_plane @ symmetric @ in_plane
    return flat
