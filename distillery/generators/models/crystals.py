"""Crystals from what the sampler gave, each by itself: what is no crystal is refused with a reason."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillery.generators.generator import Task
from distillery.generators.models.cells import check_cell
from distillery.generators.proposals import Proposal, Rejected
from distillery.generators.supercell import expand_to
from distillery.structures.checks import find_input_fault
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure, Vectors

_LARGEST_NUMBER = 118


@dataclass(frozen=True, eq=False)
class Sample:
    """One cell as sampled: atomic numbers (n_atoms,), fractional positions (n_atoms, 3), cell (3, 3) in Å."""

    numbers: NDArray[np.int64]
    fractional: Vectors
    cell: Vectors


def as_crystal(sample: Sample, origin: Mapping[str, Any]) -> Structure:
    """The sample as a structure, atoms wrapped into the cell; Rejected with the reason if it is none."""
    if not (np.isfinite(sample.cell).all() and np.isfinite(sample.fractional).all()):
        raise Rejected("not_finite")
    if sample.numbers.min() < 1 or sample.numbers.max() > _LARGEST_NUMBER:
        raise Rejected("unknown_element")
    check_cell(sample.cell, len(sample.numbers))
    cell = sample.cell if np.linalg.det(sample.cell) > 0 else -sample.cell
    fractional = sample.fractional % 1.0
    crystal = Structure("", sample.numbers.astype(np.uint8), fractional @ cell, cell, (True, True, True), "crystal", dict(origin))
    fault = find_input_fault(crystal)
    if fault is not None:
        raise Rejected(fault.reason)
    return crystal


def propose_crystal(sample: Sample, task: Task, origin: Mapping[str, Any], rng: np.random.Generator) -> Proposal | str:
    """The sample, repeated to the size that was asked for; its key is the hash of the cell. Or the reason why it is no crystal."""
    try:
        cell = as_crystal(sample, origin)
        enlarged = cell if len(cell) >= task.min_atoms else expand_to(cell, task.min_atoms, task.max_atoms, rng)
        return Proposal((enlarged,), key=structure_hash(cell))
    except Rejected as rejected:
        return rejected.reason
