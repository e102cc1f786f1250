"""What is done with each structure that is read: it is told from its twins, repeated, perturbed and checked, in a worker."""

from dataclasses import dataclass

import numpy as np

from distillery.generators.generator import Task
from distillery.generators.perturb import perturb_structure
from distillery.generators.proposals import Rejected
from distillery.structures.cells import restate
from distillery.structures.checks import find_fault, find_input_fault
from distillery.structures.geometry import Neighbours
from distillery.structures.identity import HASH_CUTOFF, structure_hash
from distillery.structures.structure import Structure
from services.benchmarks.supercell import expand


@dataclass(frozen=True)
class Finished:
    """The structure that came of one that was read, or the reason why none did; `twins` is the hash before it was changed."""

    outcome: Structure | str
    twins: str | None = None


def finish(structure: Structure, task: Task, attempt: int) -> Finished:
    """Attempt number `attempt` of a task: a pure function of its arguments. What can't be compared with twins is refused for that."""
    structure = restate(structure)
    neighbours = Neighbours(structure, HASH_CUTOFF)
    fault = find_input_fault(structure, None, neighbours)
    if fault is not None:
        return Finished(fault.reason)
    twins = structure_hash(structure, neighbours)
    try:
        return Finished(_change(structure, task, np.random.default_rng([task.seed, attempt])), twins)
    except Rejected as rejected:
        return Finished(rejected.reason, twins)


def _change(structure: Structure, task: Task, rng: np.random.Generator) -> Structure:
    """Repeated where it is a small crystal, perturbed and checked."""
    whole = expand(structure, task.min_atoms, task.max_atoms, rng) if len(structure) < task.min_atoms else structure
    moved = restate(perturb_structure(whole, task.perturb, rng))
    fault = find_fault(moved, task.elements, (task.min_atoms, task.max_atoms))
    if fault is not None:
        raise Rejected(fault.reason)
    return moved
