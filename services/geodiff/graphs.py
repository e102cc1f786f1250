"""Graphs: molecules as upstream's network reads them, many in one batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rdkit import Chem
from torch import Tensor

from services.geodiff.upstream import BOND_TYPES


@dataclass(frozen=True, eq=False)
class Graphs:
    """Molecules one after the other.

    atomic_numbers  (n_atoms,)
    edges           (2, n_edges) pairs of atoms at most `order` bonds apart, both directions
    edge_types      (n_edges,) kind of bond, or a number for each graph distance
    batch           (n_atoms,) which molecule an atom is of
    sizes           atoms of each molecule
    """

    atomic_numbers: Tensor
    edges: Tensor
    edge_types: Tensor
    batch: Tensor
    sizes: tuple[int, ...]

    def to(self, device: str) -> "Graphs":
        """The same on a device."""
        return Graphs(self.atomic_numbers.to(device), self.edges.to(device), self.edge_types.to(device), self.batch.to(device), self.sizes)


def make_graphs(molecules: Sequence[Chem.Mol], order: int) -> Graphs:
    """The graphs of molecules with explicit hydrogens, with edges up to `order` bonds."""
    sizes = tuple(mol.GetNumAtoms() for mol in molecules)
    starts = np.cumsum([0, *sizes])
    numbers = [atom.GetAtomicNum() for mol in molecules for atom in mol.GetAtoms()]
    edges, types = zip(*(_list_edges(mol, order) for mol in molecules), strict=True)
    shifted = np.concatenate([e + start for e, start in zip(edges, starts, strict=False)], axis=1)
    return Graphs(
        torch.tensor(numbers),
        torch.from_numpy(shifted),
        torch.from_numpy(np.concatenate(types)),
        torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)),
        sizes,
    )


def _list_edges(mol: Chem.Mol, order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    distances = Chem.GetDistanceMatrix(mol).astype(np.int64)
    types = np.where((distances > 1) & (distances <= order), len(BOND_TYPES) + distances - 1, 0)
    for bond in mol.GetBonds():
        i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        types[i, j] = types[j, i] = BOND_TYPES[bond.GetBondType()]
    return np.array(types.nonzero()), types[types.nonzero()]
