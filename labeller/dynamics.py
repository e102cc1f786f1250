"""Steps of single structures: FIRE, with and without the cell, and Langevin dynamics. Labels come from outside."""

from dataclasses import dataclass, replace

import numpy as np
from ase import units

from distillery.dataset.layout import Label
from distillery.structures.strain import VOIGT, keep_in_plane
from distillery.structures.structure import Structure, Vectors

_FRICTION = 0.02
"""1/fs: a thermostat that equilibrates within some 50 fs."""


@dataclass
class Fire:
    """The minimiser FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006)) with ASE's parameters; steps of at most 0.2 Å in all."""

    timestep: float = 0.1
    mixing: float = 0.1
    n_downhill: int = 0
    _velocities: Vectors | None = None

    def advance(self, forces: Vectors) -> Vectors:
        """The displacements of the next step, Å, for forces in eV/Å, both of shape (n, 3)."""
        velocities = np.zeros(forces.shape) if self._velocities is None else self._velocities
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


class Relaxation:
    """A structure on its way downhill by FIRE, its atoms alone or its cell too.

    With the cell, three rows follow those of the atoms: the deformation gradient times the number of atoms, whose force is the virial over
    that number; atoms are moved in the cell that it began with (Tadmor et al., Phys. Rev. B 59, 235 (1999); ASE's UnitCellFilter). A slab's
    cell moves in its plane only; where there is no stress it stays.
    """

    def __init__(self, structure: Structure, *, with_cell: bool) -> None:
        self.structure = structure
        self._fire, self._with_cell = Fire(), with_cell and structure.is_periodic
        self._first_cell, self._gradient = structure.cell, np.eye(3)

    def find_forces(self, label: Label) -> Vectors:
        """What the structure as it is now is pulled by, eV/Å: of the atoms, shape (n_atoms, 3), and with the cell three rows more."""
        forces = label.forces.astype(np.float64)
        if not self._with_cell or label.stress is None:
            return forces
        stress = np.zeros((3, 3))
        for component, (i, j) in zip(label.stress, VOIGT, strict=True):
            stress[i, j] = stress[j, i] = component
        virial = keep_in_plane(self.structure, -self.structure.volume * stress)
        pull = np.linalg.solve(self._gradient, virial.T).T / len(self.structure)
        return np.concatenate([forces @ self._gradient, pull])

    def advance(self, forces: Vectors) -> None:
        """Take a step by what `find_forces` gave."""
        step, n_atoms = self._fire.advance(forces), len(self.structure)
        if len(step) == n_atoms:
            self.structure = replace(self.structure, positions=self.structure.positions + step)
            return
        unstrained = np.linalg.solve(self._gradient, self.structure.positions.T).T + step[:n_atoms]
        self._gradient = self._gradient + step[n_atoms:] / n_atoms
        turned = self._gradient.T
        self.structure = replace(self.structure, cell=self._first_cell @ turned, positions=unstrained @ turned)


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
