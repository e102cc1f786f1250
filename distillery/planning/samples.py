"""What gates want of a sample of a part's structures: shortest contacts, and environments of some atoms."""

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import Arrays, make_structure
from distillery.structures.environments import describe_environments
from distillery.structures.geometry import find_pairs, sum_of_radii

_CONTACT_SAMPLE = 20
"""Structures of a part whose shortest contact is measured."""
_ENVIRONMENT_SAMPLE, _ATOMS_EACH = 16, 4
"""Structures of a part, and atoms of each of them, whose environments are described."""
Descriptors = NDArray[np.float16]
"""Rounded to less than a tenth of what makes two environments one."""


def measure_contacts(arrays: Arrays, n: int) -> dict[int, float]:
    """Shortest distance over the sum of covalent radii of some of a part's n structures, by the structure's index."""
    return {i: _shortest_contact(arrays, i) for i in _spread(n, _CONTACT_SAMPLE)}


def _spread(n: int, most: int) -> list[int]:
    """At most so many of n indices, evenly spread."""
    return sorted({int(i) for i in np.linspace(0, n - 1, min(n, most))})


def describe_some(arrays: Arrays, n: int) -> dict[int, Descriptors]:
    """Environments of some atoms of some of a part's n structures, by the structure's index."""
    structures = {i: make_structure(arrays, i) for i in _spread(n, _ENVIRONMENT_SAMPLE)}
    return {i: describe_environments(s, _spread(len(s), _ATOMS_EACH)).astype(np.float16) for i, s in structures.items()}


def _shortest_contact(arrays: Arrays, i: int) -> float:
    structure = make_structure(arrays, i)
    pairs = find_pairs(structure, 4.0)
    if not pairs.distance.size:
        return float("inf")
    return float((pairs.distance / sum_of_radii(structure.numbers[pairs.i], structure.numbers[pairs.j])).min())
