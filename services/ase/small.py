"""Isolated atoms, dimers and trimers: the energies of atoms, and pairs from far into the repulsion to where nothing is felt."""

from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms

from distillery.generators.proposals import Rejected
from services.ase.options import Kind
from services.ase.radii import COVALENT, Floats

SMALL: Mapping[Kind, int] = {"atom": 1, "dimer": 2, "trimer": 3}
"""How many atoms they have."""
NEAREST = 0.65
"""Shortest distance in sums of covalent radii; what is below 0.6 is refused by the checks."""
_SHORTEST = 0.65
"""Å, whatever the radii: no two atoms may be nearer than 0.6 Å."""
FARTHEST = 6.0
"""Å."""
_NARROWEST = 30.0
"""Degrees between the two distances of a trimer's middle atom."""
_TRIES = 50


def build_small(n_atoms: int, elements: Sequence[str], rng: np.random.Generator) -> Atoms:
    """One to three atoms of elements drawn evenly, their distances log-uniform from `NEAREST` to `FARTHEST`.

    A trimer's second and third distance is any that the angle at its first atom, its cosine drawn evenly, leaves.
    """
    atoms = Atoms([str(e) for e in rng.choice(list(elements), n_atoms)], positions=np.zeros((n_atoms, 3)))
    nearest = np.maximum(NEAREST * (COVALENT[atoms.numbers][:, None] + COVALENT[atoms.numbers]), _SHORTEST)
    for _ in range(_TRIES):
        atoms.positions = _draw_positions(nearest[0, 1:], rng)
        apart = atoms.get_all_distances()
        if n_atoms < 3 or apart[1, 2] >= nearest[1, 2]:
            break
    else:
        raise Rejected("atoms_too_close")
    distances = [round(float(apart[i, j]), 4) for i in range(n_atoms) for j in range(i + 1, n_atoms)]
    atoms.info = {"method": next(kind for kind, n in SMALL.items() if n == n_atoms), "distances": distances}
    return atoms


def _draw_positions(nearest: Floats, rng: np.random.Generator) -> Floats:
    """The first atom at the origin, the others around it at least so far away, Å."""
    lengths = np.exp(rng.uniform(np.log(nearest), np.log(FARTHEST)))
    cosine = float(rng.uniform(-1.0, np.cos(np.radians(_NARROWEST))))
    directions = np.array([(1.0, 0.0, 0.0), (cosine, np.sqrt(1 - cosine**2), 0.0)])
    return np.vstack([np.zeros(3), lengths[:, None] * directions[: len(nearest)]])
