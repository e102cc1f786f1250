"""Distances and neighbours of a structure, periodic images included."""

import ctypes
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase.data import covalent_radii
from numpy.typing import NDArray

from distillery.structures.structure import Structure


def _import_finder() -> Any:
    """vesin's neighbour lists. It imports torch and cupy where they are, for arrays of theirs: seconds that no service should spend."""
    hidden = [name for name in ("torch", "cupy") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: importing it fails
    try:
        from vesin import _neighbors
    finally:
        for name in hidden:
            del sys.modules[name]
    _neighbors._ptr_to_numpy = _view_memory
    return _neighbors.NeighborList


@dataclass(frozen=True)
class _Memory:
    __array_interface__: dict[str, Any]


def _view_memory(pointer: Any, shape: tuple[int, ...], dtype: Any, owner: Any, device: Any) -> NDArray[Any]:
    """An array over what vesin found, in place of vesin's own way: that makes types of ctypes for every number of pairs, which stay."""
    address = ctypes.cast(pointer, ctypes.c_void_p).value
    return np.asarray(_Memory({"data": (address, False), "shape": shape, "typestr": np.dtype(dtype).str, "version": 3}))


NeighborList = _import_finder()

CONTACT = 3.0
"""Å; what is farther apart is never too close."""
BOND = 1.25
"""Atoms within this many sums of their covalent radii are bonded."""
_WEAK_BOND = 1.35
"""The same of two atoms of N, O or F, whose lone pairs repel: F2 has 1.24, O2F2 1.28, N2O4 1.26, N2O3 1.31; unbonded ones 1.5 and more."""
FARTHEST_NEIGHBOUR = 1.5
"""An atom must have a neighbour within this many sums of covalent radii; a carbon without a bond too, as in carbides."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """All ordered pairs (i, j) closer than a cutoff, in ascending order of i.

    i, j      atom indices, shape (n_pairs,)
    distance  Å, shape (n_pairs,)
    vector    from i to the image of j, Å, shape (n_pairs, 3)
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    distance: NDArray[np.float64]
    vector: NDArray[np.float64]


def find_pairs(structure: Structure, cutoff: float) -> Pairs:
    """All pairs within `cutoff` Å, each in both directions; ValueError where looking for them would end the process, or take all memory."""
    _require_places(structure, cutoff)
    finder = NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
    i, j, distance, vector = finder.compute(structure.positions, structure.cell, np.array(structure.pbc), "ijdD")
    return Pairs(i.view(np.int64), j.view(np.int64), distance, vector)


_FARTHEST, _MOST_IMAGES = 1e12, 1e6
"""Å; images of the cell. What anybody can have made stays far below, and what is read of a damaged file need not."""


def _require_places(structure: Structure, cutoff: float) -> None:
    """The finder divides by what such cells make of its integers, which no Python can catch, or goes through billions of images."""
    for name, places in (("positions", structure.positions), ("cell", structure.cell)):
        if places.size and not np.abs(places).max() <= _FARTHEST:  # NaN too
            raise ValueError(f"its {name} reach to {np.abs(places).max():g} Å, at most {_FARTHEST:g} make sense")
    if not structure.is_periodic:
        return
    periodic = np.array(structure.pbc)
    try:
        reciprocal = np.linalg.inv(structure.cell)[:, periodic]
    except np.linalg.LinAlgError:  # flat, or not periodic along all three
        reciprocal = np.linalg.pinv(structure.cell)[:, periodic]
        if np.einsum("ij,ji->i", structure.cell[periodic], reciprocal).min() < 0.5:  # 1 each where they are independent
            raise ValueError(f"the cell {structure.cell.tolist()} spans nothing along what is periodic") from None
    if (n_images := float(np.prod(2 * cutoff * np.linalg.norm(reciprocal, axis=0) + 1))) > _MOST_IMAGES:
        raise ValueError(f"{n_images:.0e} images of its cell lie within {cutoff:g} Å: the cell is next to nothing, or far too skewed")


class Neighbours:
    """The neighbours of one structure, found once for all that ask: contacts, bonds, and what is within `reach`, Å.

    Where elements are so large that their bonds are longer than `reach`, those are found by themselves: the list for `reach` must be the
    same whatever else is asked for, as the last bits of its distances depend on how far it goes.
    """

    def __init__(self, structure: Structure, reach: float | None = None) -> None:
        """Without `reach` the list goes as far as the checks need."""
        self._structure = structure
        self._radius = _find_largest_radius(structure.numbers)
        self._reach = max(CONTACT, self._longest_bond) if reach is None else reach
        self._bonds: dict[float, Pairs] = {}

    @property
    def _longest_bond(self) -> float:
        return FARTHEST_NEIGHBOUR * 2 * self._radius

    @cached_property
    def _pairs(self) -> Pairs:
        return find_pairs(self._structure, self._reach)

    @cached_property
    def _near(self) -> tuple[Pairs, NDArray[np.float64]]:
        """Pairs that may be bonded, and their distances over the sums of their covalent radii."""
        pairs, numbers = self.within(self._longest_bond), self._structure.numbers
        return pairs, pairs.distance / sum_of_radii(numbers[pairs.i], numbers[pairs.j])

    def within(self, cutoff: float) -> Pairs:
        """As `find_pairs`."""
        if cutoff > self._reach:
            return find_pairs(self._structure, cutoff)
        return self._pairs if cutoff == self._reach else _keep(self._pairs, self._pairs.distance < cutoff)

    def bonds(self, factor: float = BOND) -> Pairs:
        """As `find_bonds`, `factor` at most FARTHEST_NEIGHBOUR; with BOND, bonds that are weak by nature too."""
        assert factor <= FARTHEST_NEIGHBOUR, "nothing farther is looked for"
        if factor not in self._bonds:
            pairs, ratio = self._near
            is_bond = ratio < factor
            if factor == BOND:
                has_lone_pairs = np.isin(self._structure.numbers, (7, 8, 9))
                is_bond |= has_lone_pairs[pairs.i] & has_lone_pairs[pairs.j] & (ratio < _WEAK_BOND)
            self._bonds[factor] = _keep(pairs, is_bond)
        return self._bonds[factor]


def _find_largest_radius(numbers: NDArray[np.uint8]) -> float:
    """The largest covalent radius of these elements, Å."""
    return float(np.max(np.asarray(covalent_radii)[numbers], initial=0.5))


def _keep(pairs: Pairs, keep: NDArray[np.bool_]) -> Pairs:
    kept = np.flatnonzero(keep)
    return Pairs(pairs.i[kept], pairs.j[kept], pairs.distance[kept], pairs.vector[kept])


def minimum_distance(structure: Structure, cutoff: float = 3.0) -> float:
    """The smallest distance between two atoms or their images, Å; infinity if none is within `cutoff`."""
    distance = find_pairs(structure, cutoff).distance
    return float(distance.min()) if distance.size else float("inf")


def sum_of_radii(numbers_i: NDArray[np.uint8], numbers_j: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Sum of the covalent radii of Cordero et al., Dalton Trans. 2008, 2832 (ASE's table), Å."""
    radii = np.asarray(covalent_radii, dtype=np.float64)
    total: NDArray[np.float64] = radii[numbers_i] + radii[numbers_j]
    return total


_LONGEST_BOND = 1.3
"""No bond of a graph may be longer than this times the sum of covalent radii."""
_CLOSEST_CONTACT = 1.15
"""No two atoms without a bond may be closer than this times the sum of covalent radii."""


def find_bonds(structure: Structure, factor: float = BOND) -> Pairs:
    """Pairs closer than `factor` times the sum of their covalent radii, each in both directions."""
    pairs = find_pairs(structure, factor * 2 * _find_largest_radius(structure.numbers))
    return _keep(pairs, pairs.distance < factor * sum_of_radii(structure.numbers[pairs.i], structure.numbers[pairs.j]))


def is_bonded_as(structure: Structure, bonds: Iterable[tuple[int, int]]) -> bool:
    """True if the distances tell the bonds of this graph, given in either direction: none broken, none made."""
    wanted = {pair for i, j in bonds for pair in ((i, j), (j, i))}
    return _list_bonds(structure, _CLOSEST_CONTACT) <= wanted <= _list_bonds(structure, _LONGEST_BOND)


def _list_bonds(structure: Structure, factor: float) -> set[tuple[int, int]]:
    pairs = find_bonds(structure, factor)
    return set(zip(pairs.i.tolist(), pairs.j.tolist(), strict=True))
