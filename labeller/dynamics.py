"""Steps of single structures: FIRE, a cell that follows its stress, and Langevin dynamics. Forces come from outside."""

from dataclasses import dataclass

import numpy as np
from ase import units

from distillery.dataset.layout import Label
from distillery.structures.strain import VOIGT, apply_strain, keep_in_plane
from distillery.structures.structure import Structure, Vectors

_STIFFNESS = 0.6
"""eV/Å³, about 100 GPa: the strain that a stress is answered with is the stress over this."""
_LARGEST_STRAIN = 0.02
_FRICTION = 0.02
"""1/fs: a thermostat that equilibrates within some 50 fs."""


@dataclass
class Fire:
    """The minimiser FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006)) with ASE's parameters; steps of at most 0.2 Å in all.

    n_atoms  of the structure
    """

    n_atoms: int
    timestep: float = 0.1
    mixing: float = 0.1
    n_downhill: int = 0
    _velocities: Vectors | None = None

    def advance(self, forces: Vectors) -> Vectors:
        """The displacements of the next step, Å, shape (n_atoms, 3), for forces in eV/Å."""
        velocities = np.zeros((self.n_atoms, 3)) if self._velocities is None else self._velocities
        power = float((forces * velocities).sum())
        if power > 0:
            along = np.linalg.norm(velocities) / max(float(np.linalg.norm(forces)), 1e-12)
            velocities = (1 - self.mixing) * velocities + self.mixing * along * forces
            if self.n_downhill > 5:
                self.timestep, self.mixing = min(1.1 * self.timestep, 1.0), 0.99 * self.mixing
            self.n_downhill += 1
        elif self._velocities is not None:
            velocities, self.timestep, self.mixing, self.n_downhill = 0 * velocities, 0.5 * self.timestep, 0.1, 0
        self._velocities = velocities + self.timestep * forces
        step: Vectors = self.timestep * self._velocities
        return step * min(1.0, 0.2 / max(float(np.linalg.norm(step)), 1e-12))


def relax_cell(structure: Structure, label: Label) -> Structure:
    """The structure strained against its stress, of a slab in its plane only, by at most 2 %; as it is where there is no stress."""
    if label.stress is None:
        return structure
    strain = np.zeros((3, 3))
    for component, (i, j) in zip(label.stress, VOIGT, strict=True):
        strain[i, j] = strain[j, i] = -component / _STIFFNESS
    return apply_strain(structure, np.clip(keep_in_plane(structure, strain), -_LARGEST_STRAIN, _LARGEST_STRAIN))


class Langevin:
    """Langevin dynamics by BAOAB (Leimkuhler & Matthews, Appl. Math. Res. Express 2013, 34): `drift`, then `kick`, a step.

    masses       atomic mass units, shape (n_atoms,)
    temperature  K
    timestep     fs
    """

    def __init__(self, masses: Vectors, temperature: float, timestep: float, rng: np.random.Generator) -> None:
        self._masses, self._rng = masses[:, None], rng
        self._timestep = timestep * units.fs
        self._spread = np.sqrt(units.kB * temperature / self._masses)
        self._damping = float(np.exp(-_FRICTION * timestep))
        self._velocities = self._spread * rng.normal(size=(len(masses), 3))
        self._forces = np.zeros((len(masses), 3))

    def drift(self, positions: Vectors) -> Vectors:
        """The positions at the end of the step, Å: half a kick by the last forces, half a drift, the bath, half a drift."""
        self._velocities = self._velocities + 0.5 * self._timestep * self._forces / self._masses
        middle = positions + 0.5 * self._timestep * self._velocities
        noise = np.sqrt(1 - self._damping**2) * self._spread * self._rng.normal(size=positions.shape)
        self._velocities = self._damping * self._velocities + noise
        end: Vectors = middle + 0.5 * self._timestep * self._velocities
        return end

    def kick(self, forces: Vectors) -> None:
        """The other half of the kick, by the forces at the new positions, eV/Å."""
        self._forces = forces
        self._velocities = self._velocities + 0.5 * self._timestep * forces / self._masses

    @property
    def temperature(self) -> float:
        """Of the atoms as they move now, K."""
        return float((self._masses * self._velocities**2).sum() / (self._velocities.size * units.kB))
