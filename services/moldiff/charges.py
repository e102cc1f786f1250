"""Formal charges that MolDiff does not write: cations that valences force, and the anions that balance them."""

from collections.abc import Callable
from functools import cache

import numpy as np
from rdkit import Chem

from distillery.generators.proposals import Rejected

_CARBOXYL = 1.29
"""A terminal C-O of a carboxyl group shorter than this is that of a carboxylate, Å (1.25-1.27 against 1.32-1.36 in the acid)."""
_ACIDS = (
    "[OX2H1]-S(=O)=O",
    "[OX2H1]-P=O",
    "[OX2H1]-[CX3]=[O,S]",
    "[SX2H1]-[CX3,P]=[O,S]",
    "[NX3H1](-S(=O)=O)-[C,S]=O",
    "[nX3H1]1nnnc1",
    "[OX2H1]-[c,$(C=[C,N])]",
    "[OX2H1]-[#7]",
    "[NX3H1,NX3H2]-S(=O)=O",
    "[SX2H1]-*",
    "[NX3H1](-C=O)-C=O",
    "[nX3H1]:*",
    "[NX3H1]-C=O",
)
"""What gives its proton to balance a cation, most acidic first; the first atom of each pattern becomes the anion."""


def set_charges(mol: Chem.RWMol, *, may_be_charged: bool) -> None:
    """Charge the atoms of a Kekulé molecule, neither sanitised nor yet with hydrogens, in place.

    Atoms with one bond too many become cations, neighbours or the most acidic group their anions. Where the molecule may be
    charged, carboxyl groups with two short C-O bonds become carboxylates. Rejected `valence` if no charge explains an atom's bonds.
    """
    _spread_nitro(mol)
    for atom in mol.GetAtoms():
        atom.SetFormalCharge(_charge_of(atom))
    unpaired = [atom for atom in mol.GetAtoms() if atom.GetFormalCharge() == 1 and not _charge_neighbour(atom)]
    for _ in unpaired:
        _charge_acid(mol)
    if may_be_charged:
        _charge_carboxylates(mol)


def bond_orders(atom: Chem.Atom) -> int:
    """Sum of the bond orders at an atom of a Kekulé molecule."""
    return int(sum(bond.GetBondTypeAsDouble() for bond in atom.GetBonds()))


def _spread_nitro(mol: Chem.RWMol) -> None:
    """N(=O)=O, with five bonds at N, becomes [N+](=O)[O-]'s bonds."""
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() == 7 and bond_orders(atom) == 5:
            doubles = [b for b in atom.GetBonds() if b.GetBondTypeAsDouble() == 2 and _is_terminal(b.GetOtherAtom(atom), 8)]
            if doubles:
                doubles[-1].SetBondType(Chem.BondType.SINGLE)


def _is_terminal(atom: Chem.Atom, number: int) -> bool:
    return bool(atom.GetAtomicNum() == number and atom.GetDegree() == 1)


def _charge_of(atom: Chem.Atom) -> int:
    """0 or 1; Rejected if neither explains the bonds. Odd valences of P and S that hydrogens fill (P-H, S-H) are neutral."""
    orders, degree = bond_orders(atom), atom.GetDegree()
    neutral, cation = {6: (4, 4), 7: (3, 4), 8: (2, 3), 9: (1, 1), 15: (5, 5), 16: (6, 6), 17: (1, 1)}[atom.GetAtomicNum()]
    if orders > cation:
        raise Rejected("valence")
    is_onium = (atom.GetAtomicNum(), orders, degree) in {(15, 4, 4), (16, 3, 3), (16, 3, 2), (16, 5, 4)}
    return 1 if orders > neutral or is_onium else 0


def _charge_neighbour(cation: Chem.Atom) -> bool:
    """Make a neighbour the anion: O of a nitro group or an oxide, the end of an azide or isocyanide, N of an imide."""
    neighbours = [(n, bond_orders(n)) for n in cation.GetNeighbors() if n.GetFormalCharge() == 0]
    rules: tuple[Callable[[Chem.Atom, int], bool], ...] = (
        lambda n, orders: _is_terminal(n, 8) and orders == 1,
        lambda n, orders: (_is_terminal(n, 7) and orders == 2) or (_is_terminal(n, 6) and orders == 3),
        lambda n, orders: n.GetAtomicNum() == 7 and n.GetDegree() == 2 and orders == 2 and not n.IsInRing(),
    )
    for is_anion in rules:
        for neighbour, orders in neighbours:
            if is_anion(neighbour, orders):
                neighbour.SetFormalCharge(-1)
                return True
    return False


@cache
def _acid_patterns() -> tuple[Chem.Mol, ...]:
    return tuple(Chem.MolFromSmarts(smarts) for smarts in _ACIDS)


def _charge_acid(mol: Chem.RWMol) -> None:
    """Take the proton of the most acidic group, if there is one; among equals of the one with the shortest bond."""
    copy = Chem.RWMol(mol)
    if Chem.SanitizeMol(copy, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
        return
    for pattern in _acid_patterns():
        matches = copy.GetSubstructMatches(pattern)
        if matches:
            nearest = min(matches, key=lambda match: (round(_length(mol, match[0], match[1]), 3), match))
            mol.GetAtomWithIdx(nearest[0]).SetFormalCharge(-1)
            return


def _charge_carboxylates(mol: Chem.RWMol) -> None:
    for carbon in mol.GetAtoms():
        oxygens = [o for o in carbon.GetNeighbors() if _is_terminal(o, 8) and _length(mol, o.GetIdx(), carbon.GetIdx()) < _CARBOXYL]
        if carbon.GetAtomicNum() == 6 and len(oxygens) == 2:
            for oxygen in oxygens:
                if bond_orders(oxygen) == 1:
                    oxygen.SetFormalCharge(-1)


def _length(mol: Chem.RWMol, i: int, j: int) -> float:
    positions = mol.GetConformer().GetPositions()
    return float(np.linalg.norm(positions[i] - positions[j]))
