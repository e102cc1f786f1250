"""Sketch: a molecule as MolDiff writes it, heavy atoms and typed bonds without hydrogens or charges."""

from dataclasses import dataclass

import networkx as nx
import numpy as np
from rdkit import Chem

from distillery.generators.proposals import Rejected
from distillery.structures.structure import Numbers, Vectors

SINGLE, DOUBLE, TRIPLE, AROMATIC = 1, 2, 3, 4
"""MolDiff's bond types; 0 is no bond."""
_MOST_NEIGHBOURS = {6: 4, 7: 4, 8: 2, 9: 1, 15: 4, 16: 4, 17: 1}
"""Heavy neighbours that an atom of C N O F P S Cl can have."""
_MOST_RINGS = 15
"""Independent rings (circuit rank) that a sketch may have: more would be a tangle that RDKit's ring search takes minutes over."""


@dataclass(frozen=True, eq=False)
class Sketch:
    """One molecule.

    numbers    atomic numbers, shape (n_atoms,)
    positions  Å, shape (n_atoms, 3)
    bonds      {(i, j): type}, i < j, type one of 1..4
    """

    numbers: Numbers
    positions: Vectors
    bonds: dict[tuple[int, int], int]

    @property
    def graph(self) -> nx.Graph:
        """All atoms and bonds; edges carry their `type`."""
        return self._select({SINGLE, DOUBLE, TRIPLE, AROMATIC})

    @property
    def aromatic(self) -> nx.Graph:
        """All atoms, the aromatic bonds only."""
        return self._select({AROMATIC})

    def _select(self, types: set[int]) -> nx.Graph:
        graph = nx.Graph()
        graph.add_nodes_from(range(len(self.numbers)))
        graph.add_edges_from((i, j, {"type": kind}) for (i, j), kind in sorted(self.bonds.items()) if kind in types)
        return graph


def read_sketch(mol: Chem.Mol) -> Sketch:
    """A molecule in MolDiff's own form: hydrogens and charges left out, aromatic bonds as RDKit perceives them.

    `mol` is sanitised and has one conformer. ValueError for a bond that MolDiff does not know.
    """
    heavy = Chem.RemoveAllHs(mol)
    kinds = {Chem.BondType.SINGLE: SINGLE, Chem.BondType.DOUBLE: DOUBLE, Chem.BondType.TRIPLE: TRIPLE, Chem.BondType.AROMATIC: AROMATIC}
    bonds: dict[tuple[int, int], int] = {}
    for bond in heavy.GetBonds():
        if bond.GetBondType() not in kinds:
            raise ValueError(f"MolDiff knows single, double, triple and aromatic bonds, got {bond.GetBondType()}")
        ends = sorted((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()))
        bonds[ends[0], ends[1]] = kinds[bond.GetBondType()]
    numbers = np.array([atom.GetAtomicNum() for atom in heavy.GetAtoms()], dtype=np.uint8)
    return Sketch(numbers, np.array(heavy.GetConformer().GetPositions(), dtype=np.float64), bonds)


def refuse_impossible(sketch: Sketch) -> None:
    """Rejected before anything costly: pieces, atoms with too many neighbours, tangles, aromatic bonds outside rings."""
    graph, aromatic = sketch.graph, sketch.aromatic
    if not nx.is_connected(graph):
        raise Rejected("fragments")
    if any(graph.degree(i) > _MOST_NEIGHBOURS[int(z)] for i, z in enumerate(sketch.numbers)):
        raise Rejected("valence")
    if graph.number_of_edges() - graph.number_of_nodes() + 1 > _MOST_RINGS:
        raise Rejected("too_many_rings")
    if nx.has_bridges(aromatic):
        raise Rejected("aromaticity")
