"""Ions and zwitterions: acids that gave a proton, amines that took one."""

import numpy as np
from rdkit import Chem

_ACIDS = Chem.MolFromSmarts("[$([OX2H1][CX3]=O),$([OX2H1][PX4]=O),$([OX2H1][SX4](=O)=O),$([nH]1nnnc1),$([nH]1cnnn1)]")
_BASES = Chem.MolFromSmarts("[NX3;!$(N[C,S,P]=[O,S,N]);!$(N[#7,#8,#14,#15,#16]);!$(Nc);!$(NC=C);$(N[CX4])]")
_BOTH = 0.5
"""Share of the molecules with an acid and an amine that become zwitterions."""


def charge_molecule(mol: Chem.Mol, rng: np.random.Generator) -> Chem.Mol | None:
    """The molecule with an acid deprotonated, an amine protonated, or both; None if it has neither."""
    acids, bases = ([match[0] for match in mol.GetSubstructMatches(query)] for query in (_ACIDS, _BASES))
    if not acids and not bases:
        return None
    both = bool(acids and bases) and rng.random() < _BOTH
    one = bool(acids) and (not bases or rng.random() < 0.5)
    charged = Chem.RWMol(mol)
    if both or one:
        _shift_proton(charged.GetAtomWithIdx(int(rng.choice(acids))), -1)
    if both or not one:
        _shift_proton(charged.GetAtomWithIdx(int(rng.choice(bases))), 1)
    Chem.SanitizeMol(charged)
    return charged.GetMol()


def _shift_proton(atom: Chem.Atom, step: int) -> None:
    n_hydrogens = atom.GetTotalNumHs() + step
    atom.SetFormalCharge(atom.GetFormalCharge() + step)
    atom.SetNoImplicit(True)
    atom.SetNumExplicitHs(n_hydrogens)
