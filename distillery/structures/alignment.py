"""How far two structures are apart once one is laid over the other: in the best order, orientation, place, mirror image and cell.

Three atoms of one are laid on every three of the other that are as far from each other; what then brings all atoms onto one another is
fitted to all of them, and what is left are displacements.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillery.structures.geometry import Pairs, find_pairs
from distillery.structures.identity import HASH_CUTOFF
from distillery.structures.structure import Structure, Vectors

_DISTANCE = 0.12
"""Å by which a distance may differ: 6.5 standard deviations where atoms are displaced by 0.013 Å."""
_LAID, _LAID_LATTICE = 0.45, 0.7
"""Å that an atom, or a vector of the lattice, may be off where three atoms alone lie on each other: their noise has long levers."""
_CELL = 0.02
"""Å by which a vector of the lattice may differ; by more it is strained."""
_WEIGHT = 100.0
"""Of a vector of the lattice against an atom: it has no noise."""
_ARM = 4.8
"""Å: atoms that are laid over each other are neighbours within this."""
_LEAST_AREA = 0.3
"""Å² that three atoms must span, else they lie in line."""
_MOST_TRIED = 4000
"""Ways to lay one over the other; nearly perfect supercells have as many as they have symmetries."""
_N_PROBES = 6
"""Atoms, the outermost, that a rotation must bring onto others before all are looked at."""
_AT_ONCE = 500_000
"""Distances between atoms that are looked at together: 30 MB."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Lattice:
    """A lattice whose directions that do not repeat are perpendicular unit vectors; rows are vectors, shape (3, 3)."""

    cell: Floats
    repeats: NDArray[np.bool_]

    def shorten(self, vectors: Floats) -> Floats:
        """The shortest of all vectors that end on the same atoms, where those are short; shape (..., 3)."""
        if not self.repeats.any():
            return vectors
        fractional = vectors @ np.linalg.inv(self.cell)
        return (fractional - np.where(self.repeats, np.rint(fractional), 0.0)) @ self.cell


@dataclass(frozen=True)
class _Anchor:
    """An atom of the structure that is laid over the other, and two of its neighbours.

    atom      its index
    arms      vectors to the neighbours, one alone where all lie in line, Å, shape (1 or 2, 3)
    elements  atomic numbers of the neighbours
    """

    atom: int
    arms: Floats
    elements: tuple[int, ...]


def find_displacement(one: Structure, other: Structure, width: float) -> float:
    """The standard deviation of displacements that make one structure of the other, Å; infinity where nothing lays one over the other.

    Both have the same atoms in all. Where they lie on each other in the order that they are given in, that is the answer; else the first
    way to lay one over the other that is within `width` ends the search, and the best counts if there is none.
    """
    overlay = _Overlay(one, other)
    best = overlay.fit_in_order()
    if best < float("inf"):
        return best
    for turns, atom, target in _list_ways(one, other):
        for turn in overlay.screen(turns, atom, target):
            best = min(best, overlay.fit(turn, atom, target))
            if best <= width:
                return best
    return best


def count_free(structure: Structure) -> int:
    """Displacements of atoms that are no movement of the whole: 3 n_atoms - 3 of a periodic structure, - 6 of any other."""
    return max(3 * len(structure) - (3 if structure.is_periodic else 6), 0)


def _list_ways(one: Structure, other: Structure) -> Iterator[tuple[Floats, int, int]]:
    """Rotations that lay an atom of one with its neighbours on an atom of the other, shape (n, 3, 3), and both atoms."""
    pairs, others = find_pairs(one, HASH_CUTOFF), find_pairs(other, HASH_CUTOFF)
    candidates = _match_surroundings(one, pairs, other, others)
    anchor = _choose_anchor(one, pairs, candidates) if candidates.any(axis=1).all() else None
    if anchor is not None:
        for turns, target in _list_turns(anchor, other, others, np.flatnonzero(candidates[anchor.atom])):
            yield turns, anchor.atom, target


def _match_surroundings(one: Structure, pairs: Pairs, other: Structure, others: Pairs) -> NDArray[np.bool_]:
    """Which atoms of either have the same element and the same distances to others of each element, shape (n_atoms, n_atoms)."""
    alike: NDArray[np.bool_] = one.numbers[:, None] == other.numbers[None, :]
    for element in np.unique(one.numbers).tolist():
        shells = _sort_distances(one, pairs, element), _sort_distances(other, others, element)
        n = max(shell.shape[1] for shell in shells)
        near, far = (np.pad(shell, ((0, 0), (0, n - shell.shape[1])), constant_values=HASH_CUTOFF) for shell in shells)
        for k in range(n):
            alike &= np.abs(near[:, None, k] - far[None, :, k]) <= _DISTANCE
    return alike


def _sort_distances(structure: Structure, pairs: Pairs, element: int) -> Floats:
    """Distances of every atom to its neighbours of an element, ascending, and the cutoff where there are no more; shape (n_atoms, most)."""
    kept = structure.numbers[pairs.j] == element
    i, distance = pairs.i[kept], pairs.distance[kept]
    order = np.lexsort((distance, i))
    counts = np.bincount(i, minlength=len(structure))
    shells = np.full((len(structure), int(counts.max(initial=0))), HASH_CUTOFF)
    shells[i[order], np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)] = distance[order]
    return shells


def _choose_anchor(structure: Structure, pairs: Pairs, candidates: NDArray[np.bool_]) -> _Anchor | None:
    """The atom that fewest of the other structure may be, of those with neighbours that are not all in line with it, if there is one."""
    in_line = None
    for atom in np.argsort(candidates.sum(axis=1), kind="stable").tolist():
        own = np.flatnonzero((pairs.i == atom) & (pairs.distance < _ARM))
        if not own.size:
            continue
        vectors, elements = pairs.vector[own], structure.numbers[pairs.j[own]]
        areas = np.linalg.norm(np.cross(vectors[:, None], vectors[None, :]), axis=2)
        chosen = list(np.unravel_index(int(areas.argmax()), areas.shape))
        if areas.max() > _LEAST_AREA:
            return _Anchor(atom, vectors[chosen], tuple(elements[chosen].tolist()))
        in_line = in_line or _Anchor(atom, vectors[-1:], tuple(elements[-1:].tolist()))
    return in_line


def _list_turns(anchor: _Anchor, other: Structure, pairs: Pairs, targets: NDArray[np.int64]) -> Iterator[tuple[Floats, int]]:
    """Rotations, mirrored ones too, that lay the anchor on an atom of the other structure, shape (n, 3, 3), and that atom."""
    lengths, n_tried = np.linalg.norm(anchor.arms, axis=1), 0
    frame = _make_frame(anchor.arms[None])[0]
    for target in targets.tolist():
        own = np.flatnonzero(pairs.i == target)
        fitting = [
            pairs.vector[own[(other.numbers[pairs.j[own]] == element) & (np.abs(pairs.distance[own] - length) <= _DISTANCE)]]
            for element, length in zip(anchor.elements, lengths, strict=True)
        ]
        arms = _combine(fitting)
        if len(fitting) == 2:
            wanted = float(np.linalg.norm(anchor.arms[0] - anchor.arms[1]))
            arms = arms[np.abs(np.linalg.norm(arms[:, 0] - arms[:, 1], axis=1) - wanted) <= 2 * _DISTANCE]
        frames = _make_frame(arms)
        mirrored = frames * np.array([1.0, 1.0, -1.0])[:, None]
        turns = np.einsum("kab,ac->kbc", np.concatenate([frames, mirrored]), frame)
        yield turns[: _MOST_TRIED - n_tried], target
        n_tried += len(turns)
        if n_tried >= _MOST_TRIED:
            return


def _combine(fitting: list[Floats]) -> Floats:
    """Every choice of one vector each, shape (n, 1 or 2, 3)."""
    if len(fitting) == 1:
        return fitting[0][:, None]
    first, second = fitting
    return np.stack([np.repeat(first, len(second), axis=0), np.tile(second, (len(first), 1))], axis=1)


def _make_frame(arms: Floats) -> Floats:
    """Orthonormal rows: along the first arm, along the second as far as it is across, and across both; shape (n, 3, 3)."""
    along = arms[:, 0] / np.linalg.norm(arms[:, 0], axis=1, keepdims=True)
    second = arms[:, 1] if arms.shape[1] == 2 else np.roll(along, 1, axis=1) * np.array([1.0, -1.0, 1.0]) + 0.1
    across = second - (second * along).sum(axis=1, keepdims=True) * along
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-12)
    return np.stack([along, across, np.cross(along, across)], axis=1)


class _Overlay:
    """One structure, laid over another."""

    def __init__(self, one: Structure, other: Structure) -> None:
        self._one, self._other = one, other
        self._own, self._lattice = _span(one), _span(other)
        self._is_same = one.numbers[:, None] == other.numbers[None, :]
        self._probes = np.argsort(-np.linalg.norm(one.positions - one.positions.mean(axis=0), axis=1), kind="stable")[:_N_PROBES]

    def fit_in_order(self) -> float:
        """As `fit`, each atom on that of its number, in the orientation that lays the lattices, else the atoms, on each other best."""
        one, other = self._one, self._other
        if not np.array_equal(one.numbers, other.numbers):
            return float("inf")
        if self._own.repeats.any() and np.array_equal(self._own.cell, self._lattice.cell):
            gaps = self._lattice.shorten(other.positions - one.positions - (other.positions[0] - one.positions[0]))
            is_laid = bool(np.linalg.norm(gaps, axis=1).max() <= _LAID)
            return self._measure_spread(gaps - gaps.mean(axis=0)) if is_laid else float("inf")
        if self._own.repeats.any():
            turn = _rotate_best(self._own.cell, self._lattice.cell).T
        else:
            turn = _rotate_best(one.positions - one.positions.mean(axis=0), other.positions - other.positions.mean(axis=0)).T
        lattice = self._match_lattice(turn)
        laid = self._lay(turn, 0, 0)
        gaps = self._lattice.shorten(other.positions - laid)
        if lattice is None or np.linalg.norm(gaps, axis=1).max() > _LAID:
            return float("inf")
        return self._measure(laid + gaps, lattice)

    def screen(self, turns: Floats, atom: int, target: int) -> Floats:
        """Those of the rotations that bring the outermost atoms onto others."""
        outermost = self._one.positions[self._probes] - self._one.positions[atom]
        n_at_once = max(_AT_ONCE // (len(self._probes) * len(self._other)), 1)
        kept = []
        for some in (turns[k : k + n_at_once] for k in range(0, len(turns), n_at_once)):
            laid = np.einsum("kab,pb->kpa", some, outermost) + self._other.positions[target]
            gaps = self._lattice.shorten(self._other.positions - laid[:, :, None])
            lengths = np.where(self._is_same[self._probes], np.linalg.norm(gaps, axis=3), np.inf)
            kept.append(some[lengths.min(axis=2).max(axis=1) <= _LAID])
        return np.concatenate(kept) if kept else turns

    def fit(self, turn: Floats, atom: int, target: int) -> float:
        """The displacements that are left after a rotation, fitted to all atoms; infinity where it does not bring all onto others."""
        lattice = self._match_lattice(turn)
        if lattice is None:
            return float("inf")
        if len(lattice) == 3:
            turn = _rotate_best(self._own.cell, lattice).T
        laid = self._lay(turn, atom, target)
        gaps = self._lattice.shorten(self._other.positions[None, :] - laid[:, None])
        lengths = np.where(self._is_same, np.linalg.norm(gaps, axis=2), np.inf)
        nearest = lengths.argmin(axis=1)
        if lengths.min(axis=1).max() > _LAID or len(np.unique(nearest)) < len(nearest):
            return float("inf")
        return self._measure(laid + gaps[np.arange(len(laid)), nearest], lattice)

    def _lay(self, turn: Floats, atom: int, target: int) -> Floats:
        """Positions of one once it is turned and an atom of it lies on one of the other, Å, shape (n_atoms, 3)."""
        laid: Floats = (self._one.positions - self._one.positions[atom]) @ turn.T + self._other.positions[target]
        return laid

    def _measure(self, goals: Floats, lattice: Floats) -> float:
        """The width of the displacements to where atoms and vectors of the lattice should be, once rotated at best."""
        repeated = self._own.cell[self._own.repeats]
        vectors, ends = (places - places.mean(axis=0) for places in (self._one.positions, goals))
        best = _rotate_best(np.vstack([vectors, _WEIGHT * repeated]), np.vstack([ends, _WEIGHT * lattice]))
        if np.linalg.norm(repeated @ best - lattice, axis=1).max(initial=0.0) > _CELL:
            return float("inf")
        return self._measure_spread(vectors @ best - ends)

    def _measure_spread(self, displacements: Floats) -> float:
        """The standard deviation of displacements about their mean, shape (n_atoms, 3)."""
        return float(np.sqrt((displacements**2).sum() / max(count_free(self._one), 1)))

    def _match_lattice(self, turn: Floats) -> Floats | None:
        """Vectors of the other lattice that those of one lie on, once turned, shape (n periodic, 3); None if it is another lattice."""
        own, lattice = self._own, self._lattice
        turned = own.cell[own.repeats] @ turn.T
        steps = np.rint(turned @ np.linalg.inv(lattice.cell))
        steps[:, ~lattice.repeats] = 0.0
        found: Floats = steps @ lattice.cell
        is_same = own.repeats.sum() == lattice.repeats.sum() and np.linalg.norm(found - turned, axis=1).max(initial=0.0) <= _LAID_LATTICE
        return found if is_same and abs(abs(np.linalg.det(steps[:, lattice.repeats])) - 1) < 0.5 else None


def _rotate_best(vectors: Floats, ends: Floats) -> Floats:
    """The orthogonal matrix that brings rows nearest to their ends, from the right: P. H. Schönemann, Psychometrika 31 (1966) 1."""
    left, _, right = np.linalg.svd(vectors.T @ ends)
    best: Floats = left @ right
    return best


def _span(structure: Structure) -> _Lattice:
    """Its lattice."""
    repeats = np.array(structure.pbc)
    return _Lattice(_complete(structure.cell, repeats), repeats)


def _complete(cell: Vectors, repeats: NDArray[np.bool_]) -> Floats:
    """A cell with perpendicular unit vectors where it does not repeat, right-handed; shape (3, 3)."""
    rows = cell[repeats]
    if len(rows) == 3:
        return cell
    completed = cell.copy()
    completed[~repeats] = np.linalg.svd(np.vstack([rows, np.zeros((1, 3))]))[2][len(rows) :]
    if len(rows) == 2:
        completed[~repeats] *= np.sign(np.linalg.det(completed))
    return completed
