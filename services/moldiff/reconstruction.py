"""From MolDiff's sketch of a molecule to a sanitised RDKit molecule: bonds localised, hydrogens counted, charges set.

All steps are bounded: the sketch is refused early if its graph is a tangle, hydrogens and charges of an aromatic system are
placed in a limited number of trials, and double bonds are found by matching, in polynomial time.
"""

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Geometry import Point3D

from distillery.generators.proposals import Rejected
from services.moldiff.charges import set_charges
from services.moldiff.kekule import localise
from services.moldiff.sketch import AROMATIC, DOUBLE, SINGLE, TRIPLE, Sketch, refuse_impossible

_ORDERS = {SINGLE: Chem.BondType.SINGLE, DOUBLE: Chem.BondType.DOUBLE, TRIPLE: Chem.BondType.TRIPLE}


def reconstruct(sketch: Sketch, *, may_be_charged: bool = False) -> Chem.Mol:
    """The sketched molecule, hydrogens implicit, heavy atoms where they were.

    Rejected: `fragments`, `valence` (more bonds than an atom can have), `too_many_rings`, `aromaticity` (flagged bonds that no
    placement of hydrogens and charges makes aromatic).
    """
    refuse_impossible(sketch)
    with rdBase.BlockLogs():
        mol = _draw_kekule(sketch)
        set_charges(mol, may_be_charged=may_be_charged)
        if Chem.SanitizeMol(mol, catchErrors=True) != Chem.SanitizeFlags.SANITIZE_NONE:
            raise Rejected("valence")
    if not all(mol.GetBondBetweenAtoms(i, j).GetIsAromatic() for (i, j), kind in sketch.bonds.items() if kind == AROMATIC):
        raise Rejected("aromaticity")
    return mol.GetMol()


def _draw_kekule(sketch: Sketch) -> Chem.RWMol:
    """The molecule with single, double and triple bonds, not sanitised."""
    doubles = frozenset().union(*(kekule.doubles for kekule in localise(sketch)))
    mol = Chem.RWMol()
    for number in sketch.numbers:
        mol.AddAtom(Chem.Atom(int(number)))
    for ends, kind in sorted(sketch.bonds.items()):
        order = (DOUBLE if ends in doubles else SINGLE) if kind == AROMATIC else kind
        mol.AddBond(*ends, _ORDERS[order])
    conformer = Chem.Conformer(len(sketch.numbers))
    for i, position in enumerate(np.asarray(sketch.positions, dtype=np.float64)):
        conformer.SetAtomPosition(i, Point3D(*position.tolist()))
    mol.AddConformer(conformer)
    mol.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(mol)
    return mol
