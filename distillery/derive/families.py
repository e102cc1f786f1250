"""Parents of several datasets: which are of the same matter, so that a split of the merged one keeps them together."""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import open_dataset
from distillery.dataset.splits import find_parent, name_composition, read_joined, read_origins
from distillery.derive.inputs import Input


class Families:
    """Names of parents joined into families; a family goes by the member that came first."""

    def __init__(self) -> None:
        self._up: dict[str, str] = {}
        self._place: dict[str, int] = {}
        self.n_joined = 0

    def add(self, name: str) -> None:
        """Know a parent."""
        self._place.setdefault(name, len(self._place))

    def find(self, name: str) -> str:
        """The parent that a parent's family goes by."""
        root = name
        while root in self._up:
            root = self._up[root]
        while name != root:
            self._up[name], name = root, self._up[name]
        return root

    def join(self, one: str, other: str) -> bool:
        """Make two families one; False if they are one already."""
        self.add(one)
        self.add(other)
        first, second = sorted((self.find(one), self.find(other)), key=self._place.__getitem__)
        if first == second:
            return False
        self._up[second] = first
        return True

    def find_roots(self) -> dict[str, str]:
        """Of each parent that goes by another one's name, that one."""
        return {name: self.find(name) for name in sorted(self._up)}


def join_families(inputs: Sequence[Input], first: NDArray[np.int64]) -> Families:
    """The families of all parents: those that share a structure, or of which one is named by the other's composition alone.

    A dataset names crystals by composition and space group where it knows that, and another one by composition where it does not; where
    both have the composition, it is one family. `first` says of each row, all datasets one behind the other, which is the first row with
    its structure, (n,).
    """
    families, names, of_row = Families(), dict[str, int](), array("q")
    bare: dict[str, set[tuple[str, int]]] = {}
    for k, one in enumerate(inputs):
        with open_dataset(one.path) as file:
            for parent, root in read_joined(file).items():
                families.join(root, parent)
            for service, system, numbers, origin in read_origins(file):
                parent = find_parent(service, system, numbers, origin)
                families.add(parent)
                of_row.append(names.setdefault(parent, len(names)))
                bare.setdefault(name_composition(system, numbers), set()).add((parent, k))
    parents, rows = list(names), np.array(of_row, np.int64)
    pairs = np.unique(np.stack([rows, rows[first]], axis=1), axis=0) if len(rows) else np.zeros((0, 2), np.int64)
    for own, other in pairs.tolist():
        families.n_joined += families.join(parents[other], parents[own])
    for composition, members in sorted(bare.items()):
        known_in = {k for parent, k in members if parent == composition}
        for parent, k in sorted(members):
            if known_in - {k}:
                families.n_joined += families.join(composition, parent)
    return families
