"""Moving a structure off equilibrium: labels at perfect equilibrium teach no forces."""

from dataclasses import replace

import numpy as np

from distillery.schema.generate import Perturb
from distillery.structures.strain import apply_strain, draw_strain, list_components
from distillery.structures.structure import Structure


def perturb_structure(structure: Structure, perturb: Perturb, rng: np.random.Generator) -> Structure:
    """The structure, strained and rattled as `perturb` says; what was done is written to `origin["perturb"]`.

    Strain is a random symmetric tensor with components uniform in [-strain, strain]; slabs are strained in their
    plane only, so that the vacuum stays. Positions follow the strain, then each coordinate gets a Gaussian
    displacement of standard deviation `rattle` Å.
    """
    if (perturb.rattle == 0 and perturb.strain == 0) or rng.random() >= perturb.share:
        return structure
    done: dict[str, object] = {}
    if perturb.strain > 0 and structure.is_periodic:
        strain = draw_strain(structure, perturb.strain, rng)
        structure = apply_strain(structure, strain)
        done["strain"] = list_components(strain)
    positions = structure.positions
    if perturb.rattle > 0:
        positions = positions + rng.normal(scale=perturb.rattle, size=positions.shape)
        done["rattle"] = perturb.rattle
    return replace(structure, positions=positions, origin={**structure.origin, "perturb": done})
