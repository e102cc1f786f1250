"""Carbons at the rim of a cut or packed structure: hydrogens are added, or another element takes their place.

A carbon with no neighbour, with one, or with two that are not in line, is what a file without its hydrogens looks like;
no structure leaves this service with one.
"""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from scipy.spatial.transform import Rotation

from distillery.generators.proposals import Rejected
from distillery.structures.geometry import Pairs, find_pairs
from distillery.structures.structure import from_ase
from services.ase.packing import random_rotation
from services.ase.radii import COVALENT, Floats

_SURE, _POSSIBLE = 1.18, 1.32
"""Bonds shorter or longer than these, in sums of covalent radii, stay what they are when atoms are rattled by ~0.1 Å."""
_NEAR = 1.42
"""A carbon without a bond that has a neighbour within this many keeps one within `distillery.structures.geometry.FARTHEST_NEIGHBOUR`."""
_IN_LINE = 165.0
"""Degrees."""
_CLEARANCE = 1.35
"""A new hydrogen keeps at least this many sums of covalent radii from all but its carbon (H-H: by 0.5 Å more)."""
_ROUNDS = 8
_N_TURNS = 12
_CORNERS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
_REACH = 4.5
_LIKE_RADIUS = 0.15
"""Å."""


def saturate_carbons(atoms: Atoms, elements: Sequence[str], n_room: int, rng: np.random.Generator) -> Atoms:
    """The atoms with at most `n_room` more hydrogens, or other elements for carbons, so that no carbon is bare.

    Where neither is to be had the carbons are taken away. Rejected("bare_carbon") if some remain after eight rounds.
    """
    done = {"hydrogens_added": 0, "replaced": 0, "removed": 0}
    for _ in range(_ROUNDS):
        bare = find_bare_carbons(atoms)
        if not bare:
            if any(done.values()):
                atoms.info["carbons"] = done
            return atoms
        hopeless = []
        for carbon in bare:
            n_left = n_room - done["hydrogens_added"]
            grown = _add_hydrogens(atoms, carbon, n_left, rng) if "H" in elements and n_left > 0 else None
            if grown is not None:
                done["hydrogens_added"] += len(grown) - len(atoms)
                atoms = grown
            else:
                hopeless.append(carbon)
        atoms = _give_up(atoms, hopeless, elements, done, rng)
    raise Rejected("bare_carbon")


def find_bare_carbons(atoms: Atoms) -> list[int]:
    """Carbons that lack neighbours, or may once the atoms are rattled."""
    if 6 not in atoms.numbers:
        return []
    structure = from_ase(atoms, id="", system="surface" if atoms.pbc.any() else "cluster")
    pairs = find_pairs(structure, _NEAR * (COVALENT[6] + float(COVALENT[atoms.numbers].max())))
    return [int(c) for c in np.flatnonzero(atoms.numbers == 6) if _is_bare(atoms, pairs, int(c))]


def _is_bare(atoms: Atoms, pairs: Pairs, carbon: int) -> bool:
    mine = pairs.i == carbon
    ratio = pairs.distance[mine] / (COVALENT[6] + COVALENT[atoms.numbers[pairs.j[mine]]])
    n_sure, n_possible = int((ratio < _SURE).sum()), int((ratio < _POSSIBLE).sum())
    if n_possible == 0:
        return not (ratio < _NEAR).any()
    if n_sure >= 3:
        return False
    if n_sure != 2 or n_possible != 2:
        return True
    return not _are_in_line(pairs.vector[mine][ratio < _SURE])


def _are_in_line(bonds: Floats) -> bool:
    a, b = bonds
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    return bool(np.degrees(np.arccos(np.clip(cosine, -1, 1))) >= _IN_LINE)


def _add_hydrogens(atoms: Atoms, carbon: int, n_most: int, rng: np.random.Generator) -> Atoms | None:
    """Hydrogens at free corners of a tetrahedron about the carbon, or None if it would stay bare."""
    structure = from_ase(atoms, id="", system="surface" if atoms.pbc.any() else "cluster")
    pairs = find_pairs(structure, _REACH)
    mine = pairs.i == carbon
    around, radii = pairs.vector[mine], COVALENT[atoms.numbers[pairs.j[mine]]]
    bonds = around[pairs.distance[mine] < _SURE * (COVALENT[6] + radii)]
    if len(bonds) == 2 and _are_in_line(bonds):
        return None
    best: list[Floats] = []
    for _ in range(_N_TURNS):
        free = _free_corners(bonds, around, radii, rng)[: min(n_most, 4 - len(bonds))]
        best = max(best, free, key=len)
    if len(bonds) + len(best) < 3:
        return None
    grown: Atoms = atoms + Atoms("H" * len(best), positions=atoms.positions[carbon] + np.array(best))
    return grown


def _free_corners(bonds: Floats, around: Floats, radii: Floats, rng: np.random.Generator) -> list[Floats]:
    """Corners of a tetrahedron with others on the bonds, turned at random as far as these allow, where hydrogen has room, Å."""
    turn = random_rotation(rng)
    if len(bonds):
        directions = bonds / np.linalg.norm(bonds, axis=1, keepdims=True)
        turn = Rotation.align_vectors(directions, (_CORNERS @ turn.T)[: len(bonds)])[0].as_matrix() @ turn
    spots = (COVALENT[6] + COVALENT[1]) * _CORNERS[len(bonds) :] @ turn.T
    return list(spots[_clearance(spots, around, radii) >= _CLEARANCE])


def _clearance(spots: Floats, around: Floats, radii: Floats) -> Floats:
    """Least distance of each spot from the atoms around it, in sums of covalent radii."""
    if not len(around):
        return np.full(len(spots), np.inf)
    distance = np.linalg.norm(spots[:, None] - around[None], axis=-1)
    contact = COVALENT[1] + radii + np.where(radii == COVALENT[1], 0.5, 0.0)
    room: Floats = (distance / contact).min(axis=1)
    return room


def _give_up(atoms: Atoms, carbons: list[int], elements: Sequence[str], done: dict[str, int], rng: np.random.Generator) -> Atoms:
    """The atoms with other elements of like radius in place of these carbons, or without them where there is no other."""
    others = [e for e in elements if e not in ("C", "H")]
    if not others:
        done["removed"] += len(carbons)
        if len(carbons) == len(atoms):
            raise Rejected("bare_carbon")
        return atoms[[k for k in range(len(atoms)) if k not in set(carbons)]]
    misfit = np.array([abs(COVALENT[atomic_numbers[e]] - COVALENT[6]) for e in others])
    alike = [e for e, m in zip(others, misfit, strict=True) if m <= misfit.min() + _LIKE_RADIUS]
    for carbon in carbons:
        atoms.numbers[carbon] = atomic_numbers[str(rng.choice(alike))]
        done["replaced"] += 1
    return atoms
