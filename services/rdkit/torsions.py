"""Conformers far from the minimum: torsions turned by random angles."""

from dataclasses import replace

import numpy as np
from ase.data.vdw_alvarez import vdw_radii
from rdkit import Chem
from rdkit.Chem import rdMolTransforms

from distillery.structures.structure import Vectors
from services.rdkit.conformers import Conformer, is_intact

_ROTATABLE = Chem.MolFromSmarts("[!$(*#*)&!D1]-&!@[!$(*#*)&!D1]")
_MOST_TURNED = 3
_LEAST_TURN = 20.0
"""Degrees."""
_TRIES = 10
_FAR = 4
"""Bonds between two atoms from which on they are a contact."""
_NEAREST = 0.65
"""Sums of van der Waals radii that such atoms keep."""


def turn_torsions(conformer: Conformer, rng: np.random.Generator) -> Conformer:
    """The conformer with one to three torsions about single bonds turned by 20° or more, listed in `turned` as (atom, atom, degrees).

    As it was if it has none, or if ten tries all brought atoms together.
    """
    bonds = conformer.graph.GetSubstructMatches(_ROTATABLE)
    for _ in range(_TRIES if bonds else 0):
        count = int(rng.integers(1, min(_MOST_TURNED, len(bonds)) + 1))
        chosen = [bonds[int(k)] for k in rng.choice(len(bonds), count, replace=False)]
        turned = tuple((int(i), int(j), float(rng.uniform(_LEAST_TURN, 360 - _LEAST_TURN))) for i, j in chosen)
        moved = replace(conformer, positions=_turn(conformer, turned), turned=turned)
        if is_intact(moved, moved.graph) and not _is_crowded(moved):
            return moved
    return conformer


def _turn(conformer: Conformer, turned: tuple[tuple[int, int, float], ...]) -> Vectors:
    graph, placed = conformer.graph, Chem.Conformer(len(conformer.numbers))
    placed.SetPositions(np.ascontiguousarray(conformer.positions))
    holder = Chem.Mol(graph, True)
    placed = holder.GetConformer(holder.AddConformer(placed))
    for i, j, angle in turned:
        first, last = (_neighbour(graph, *pair) for pair in ((i, j), (j, i)))
        before = rdMolTransforms.GetDihedralDeg(placed, first, i, j, last)
        rdMolTransforms.SetDihedralDeg(placed, first, i, j, last, before + angle)
    return np.array(placed.GetPositions(), dtype=np.float64)


def _neighbour(graph: Chem.Mol, atom: int, other: int) -> int:
    return next(int(n.GetIdx()) for n in graph.GetAtomWithIdx(atom).GetNeighbors() if n.GetIdx() != other)


def _is_crowded(conformer: Conformer) -> bool:
    apart = np.linalg.norm(conformer.positions[:, None] - conformer.positions, axis=-1)
    radii = np.asarray(vdw_radii, dtype=np.float64)[conformer.numbers]
    is_contact = np.asarray(Chem.GetDistanceMatrix(conformer.graph)) >= _FAR
    return bool((apart < _NEAREST * (radii[:, None] + radii))[is_contact].any())
