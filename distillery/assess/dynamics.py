"""How long a student's dynamics stay sound: short runs at constant energy, watched for what no physics allows."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from distillery.assess.graphs import Graph, make_graph
from distillery.assess.student import Student
from distillery.errors import InvalidRequest
from distillery.schema.assess import Dynamics
from distillery.structures.geometry import find_pairs, sum_of_radii
from distillery.structures.structure import Structure, from_ase, to_ase

TEMPERATURE = 300.0
"""K, of the first velocities."""
TIMESTEP = 1.0
"""fs."""
_CLOSEST = 0.6
"""No two atoms may come nearer than this times the sum of their covalent radii."""
_HOTTEST = 3.0
"""The temperature may rise to this times the first one; a sound run at constant energy halves it, or keeps it."""
_LEAST_ATOMS = 30
"""Below so many atoms temperatures scatter widely, so more is allowed: as if it had so many."""


def watch_dynamics(student: Student, graphs: Sequence[Graph], *, steps: int, seed: int) -> Dynamics:
    """Run every structure for `steps` fs and say how long it stayed sound.

    A fault is `too_hot`, `too_close` or `not_finite`. InvalidRequest without structures.
    """
    if not graphs:
        raise InvalidRequest("dynamics need one structure at least")
    ends = [_run(student, graph.structure, steps, seed + k) for k, graph in enumerate(graphs)]
    faults = Counter(fault for _, fault in ends if fault is not None)
    return Dynamics(
        n_structures=len(ends),
        n_sound=len(ends) - faults.total(),
        femtoseconds=float(np.median([taken for taken, _ in ends])) * TIMESTEP,
        length=steps * TIMESTEP,
        faults=dict(sorted(faults.items())),
    )


def _run(student: Student, structure: Structure, steps: int, seed: int) -> tuple[int, str | None]:
    """The steps that were sound, and what was wrong with the next one."""
    atoms = to_ase(structure)
    atoms.calc = StudentCalculator(student)
    thermalize_momenta(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(seed))
    dynamics = VelocityVerlet(atoms, timestep=TIMESTEP * units.fs)
    for step in range(steps):
        dynamics.run(1)
        if (fault := find_fault(atoms)) is not None:
            return step, fault
    return steps, None


def find_fault(atoms: Atoms, temperature: float = TEMPERATURE) -> str | None:
    """What is unsound with atoms on their way, None if nothing; `temperature`, K, is that of the first velocities."""
    if not np.isfinite(atoms.positions).all():
        return "not_finite"
    if atoms.get_temperature() > temperature * (_HOTTEST + _LEAST_ATOMS / len(atoms)):
        return "too_hot"
    pairs = find_pairs(from_ase(atoms, id="", system="molecule"), 2.0)
    closest = _CLOSEST * sum_of_radii(atoms.numbers[pairs.i], atoms.numbers[pairs.j])
    return "too_close" if (pairs.distance < closest).any() else None


class StudentCalculator(Calculator):
    """A student as ASE asks for it: energy in eV, forces in eV/Å."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012

    def __init__(self, student: Student) -> None:
        Calculator.__init__(self)
        self._student = student

    def calculate(self, atoms: Atoms | None = None, properties: Sequence[str] = (), system_changes: Sequence[str] = all_changes) -> None:
        """Energy and forces of these atoms; InvalidRequest without any."""
        if atoms is None:
            raise InvalidRequest("a student's calculator needs atoms, got none")
        Calculator.calculate(self, atoms, properties, system_changes)
        structure = from_ase(atoms, id="", system="molecule")
        (found,) = self._student.predict([make_graph(structure, "", 0.0, np.zeros((len(structure), 3)))])
        self.results = {"energy": found.energy, "forces": found.forces}
