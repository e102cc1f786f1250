"""Variants of a structure, whose labels tell whether a teacher keeps the laws of physics: moved, strained, turned, doubled."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.layout import Label
from distillery.schema.label import Law
from distillery.structures.strain import VOIGT, apply_strain
from distillery.structures.structure import Structure, Vectors

_STEP = 0.01
"""Displacement of an atom, Å, root mean square or largest: the energy changes clearly, its third derivative hardly matters."""
_STRAIN = 0.002
"""Small, as near its equilibrium a crystal's third order counts (by CHGNet a tenth at 0.005), no smaller, as energies are rounded."""
FAR_APART = 60.0
"""Å between two copies that must not feel one another: farther than five layers of messages at 6 Å reach."""
Matrix = NDArray[np.float64]
Extent = Literal["few", "some", "all"]
"""How many variants: two directions and a strain; a few more and the structure doubled; each symmetry and each component of the stress by
itself. With "few" trying a structure takes half as many of the teacher's calls, so one may be twice as large.
"""


@dataclass(frozen=True, eq=False)
class Variant:
    """A structure made of another one.

    law       what it is for
    rotation  its vectors are those of the original times this matrix, shape (3, 3)
    order     its atom k is the original's atom order[k], shape (n_atoms,)
    step      displacements of the atoms, Å, shape (n_atoms, 3), or strain, shape (3, 3), of which it and the next variant have + and -
    """

    law: Law
    structure: Structure
    rotation: Matrix | None = None
    order: NDArray[np.int64] | None = None
    step: Matrix | None = None


def make_variants(structure: Structure, label: Label, extent: Extent) -> list[Variant]:
    """The structures whose labels tell whether the laws are kept; the same for the same structure.

    label  its own: the energy is followed along the forces too, and by strain where there is a stress
    """
    rng = np.random.default_rng(len(structure))
    variants = [] if extent == "few" else [Variant("repeat", structure)]
    variants += _make_symmetric(structure, rng, extent)
    for direction in _choose_directions(label.forces.astype(np.float64), rng, 3 if extent == "all" else 1):
        variants += [Variant("forces", _displace(structure, sign * direction), step=direction) for sign in (1, -1)]
    if label.stress is not None:
        for strain in _choose_strains(rng, extent):
            variants += [Variant("stress", apply_strain(structure, sign * strain), step=strain) for sign in (1, -1)]
    if extent != "few" and _may_be_doubled(structure):
        variants.append(Variant("extensivity", _double(structure)))
    if not structure.is_plain:
        variants.append(Variant("state", replace(structure, charge=0, multiplicity=0)))
    return [replace(v, structure=v.structure.renamed(f"{structure.id}#{k}")) for k, v in enumerate(variants)]


def _make_symmetric(structure: Structure, rng: np.random.Generator, extent: Extent) -> list[Variant]:
    same, nowhere = np.arange(len(structure)), np.zeros((1, 3))
    turn, order, shift = _random_rotation(rng), rng.permutation(len(structure)), rng.uniform(1, 3, (1, 3))
    images = rng.integers(-1, 2, (len(structure), 3)) * structure.pbc  # each atom to one of its own
    shifts = shift + images @ structure.cell
    if extent != "all":
        return [_rewrite("symmetry", structure, turn, shifts, order)]
    return [
        _rewrite("rotation", structure, turn, nowhere, same),
        _rewrite("translation", structure, np.eye(3), shifts, same),
        _rewrite("permutation", structure, np.eye(3), nowhere, order),
    ]


def _rewrite(law: Law, structure: Structure, turn: Matrix, shifts: Matrix, order: NDArray[np.int64]) -> Variant:
    """Shifted, renumbered, turned; shifts are Å, shape (n_atoms or 1, 3)."""
    written = replace(
        structure, numbers=structure.numbers[order], positions=(structure.positions + shifts)[order] @ turn, cell=structure.cell @ turn
    )
    return Variant(law, written, rotation=turn, order=order)


def _random_rotation(rng: np.random.Generator) -> Matrix:
    """A proper rotation, uniform over all (QR decomposition of a Gaussian matrix: Mezzadri, arXiv:math-ph/0609050)."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    turn: Matrix = q * np.sign(np.diag(r))
    return turn if np.linalg.det(turn) > 0 else -turn


def _choose_directions(forces: Matrix, rng: np.random.Generator, n_random: int) -> list[Matrix]:
    """Displacements of all atoms: along the forces where there are any, and at random.

    Along the forces no atom moves farther than the others do on average: where one bond bears nearly all of them it is stiff, and a
    longer step would leave the range in which differences of the energy are its derivative.
    """
    largest = float(np.linalg.norm(forces, axis=1).max(initial=0.0))
    directions = [_STEP * forces / largest] if largest > 1e-6 else []
    random = [rng.normal(size=forces.shape) for _ in range(n_random)]
    return directions + [_STEP * d / np.sqrt((d**2).sum(axis=1).mean()) for d in random]


def _choose_strains(rng: np.random.Generator, extent: Extent) -> list[Matrix]:
    if extent == "all":
        return [_STRAIN * _unit_strain(k) for k in range(6)]
    raw = [sum(rng.uniform(-1, 1) * _unit_strain(k) for k in range(6)) for _ in range(1 if extent == "few" else 3)]
    return [_STRAIN * np.asarray(strain) for strain in raw]


def _unit_strain(component: int) -> Matrix:
    i, j = VOIGT[component]
    strain = np.zeros((3, 3))
    strain[i, j] = strain[j, i] = 1.0
    return strain


def _displace(structure: Structure, step: Matrix) -> Structure:
    return replace(structure, positions=structure.positions + step)


def _may_be_doubled(structure: Structure) -> bool:
    """Whether two far apart are twice one to every sound teacher: charges repel at any distance, and single electrons of two may pair."""
    has_single_electron = not structure.is_periodic and structure.n_electrons % 2 == 1
    return not (structure.charge or structure.multiplicity or has_single_electron)


def _double(structure: Structure) -> Structure:
    """Twice the cell along a, or a second copy so far away that it must not be felt."""
    cell: Vectors = structure.cell.copy()
    if structure.is_periodic:
        shift = cell[0].copy()
        cell[0] *= 2
    else:
        shift = np.array([float(np.ptp(structure.positions[:, 0])) + FAR_APART, 0.0, 0.0])
    return replace(
        structure,
        numbers=np.tile(structure.numbers, 2),
        positions=np.concatenate([structure.positions, structure.positions + shift]),
        cell=cell,
    )
