"""What is done with each structure that is read: it is told from its twins, perturbed and checked, in a worker."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from distillery.generators.generator import Task
from distillery.generators.perturb import perturb_structure
from distillery.generators.proposals import Rejected
from distillery.structures.cells import restate
from distillery.structures.checks import Fault, find_fault, find_input_fault
from distillery.structures.geometry import Neighbours
from distillery.structures.identity import HASH_CUTOFF, structure_hash
from distillery.structures.structure import Structure

Enlarge = Callable[[Structure, Task, np.random.Generator], Structure]
"""A structure made as large as a task wants it, or as it is; Rejected if it can't be."""


@dataclass(frozen=True)
class Finished:
    """The structure that came of one that was read, or why none did; `twins` is the hash before it was changed."""

    outcome: Structure | Fault
    twins: str | None = None


def finish_structure(structure: Structure, task: Task, attempt: int, enlarge: Enlarge) -> Finished:
    """Attempt number `attempt` of a task: a pure function of its arguments. What can't be compared with twins is refused for that."""
    structure = restate(structure)
    neighbours = Neighbours(structure, HASH_CUTOFF)
    fault = find_input_fault(structure, None, neighbours)
    if fault is not None:
        return Finished(fault)
    return Finished(_change(structure, task, np.random.default_rng([task.seed, attempt]), enlarge), structure_hash(structure, neighbours))


def _change(structure: Structure, task: Task, rng: np.random.Generator, enlarge: Enlarge) -> Structure | Fault:
    """Enlarged, perturbed and checked."""
    try:
        whole = enlarge(structure, task, rng)
    except Rejected as rejected:
        return Fault(rejected.reason, f"it has {len(structure)} atoms, wanted {task.min_atoms}-{task.max_atoms}")
    moved = restate(perturb_structure(whole, task.perturb, rng))
    return find_fault(moved, task.elements, (task.min_atoms, task.max_atoms)) or moved
