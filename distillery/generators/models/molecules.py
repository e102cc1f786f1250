"""Molecules that a model made: hydrogens placed and relaxed, graph and geometry verified, the result as a Structure."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdForceFieldHelpers

from distillery.generators.proposals import Rejected
from distillery.structures.checks import find_input_fault
from distillery.structures.geometry import is_bonded_as
from distillery.structures.structure import Structure

_ITERATIONS = 500
"""Steps of one relaxation of hydrogens at most; hydrogens that still creep are taken where they are."""


def add_hydrogens(mol: Chem.Mol) -> Chem.Mol:
    """A copy with every hydrogen explicit: placed by RDKit, then relaxed while the heavy atoms stay exactly where they are.

    `mol` is sanitised and has one conformer; see `relax_hydrogens`. Rejected `hydrogens_unplaced` where RDKit finds no direction
    for one (opposite or coinciding neighbours).
    """
    try:
        full = Chem.AddHs(mol, addCoords=True)
    except RuntimeError as error:  # a vector of no length inside RDKit
        raise Rejected("hydrogens_unplaced") from error
    relax_hydrogens(full)
    return full


def relax_hydrogens(mol: Chem.Mol) -> None:
    """Move the hydrogens of a molecule's one conformer, in place, while the heavy atoms stay exactly where they are.

    MMFF94 relaxes, or UFF where MMFF94 lacks a parameter; Rejected `no_force_field` if UFF does as well, `relaxation` if forces
    have no direction (atoms in one place).
    """
    field = _make_field(mol)
    field.Initialize()
    for atom in mol.GetAtoms():
        if atom.GetAtomicNum() != 1:
            field.AddFixedPoint(atom.GetIdx())
    try:
        field.Minimize(maxIts=_ITERATIONS)
    except RuntimeError as error:  # a broken invariant inside RDKit's optimiser
        raise Rejected("relaxation") from error


def _make_field(mol: Chem.Mol) -> Any:
    # UFF is asked itself: without parameters it would go on and report success
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        return rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, rdForceFieldHelpers.MMFFGetMoleculeProperties(mol))
    if rdForceFieldHelpers.UFFHasAllMoleculeParams(mol):
        return rdForceFieldHelpers.UFFGetMoleculeForceField(mol)
    raise Rejected("no_force_field")


def verify_graph(mol: Chem.Mol, *, may_be_charged: bool = False) -> None:
    """Rejected if a molecule with explicit hydrogens is in pieces, breaks a valence, lacks a hydrogen, is charged or a radical."""
    if len(Chem.GetMolFrags(mol)) != 1:
        raise Rejected("fragments")
    if Chem.DetectChemistryProblems(mol):
        raise Rejected("valence")
    if any(atom.GetNumImplicitHs() or atom.GetNumExplicitHs() for atom in mol.GetAtoms()):
        raise Rejected("hydrogens_missing")
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        raise Rejected("radical")
    if Chem.GetFormalCharge(mol) != 0 and not may_be_charged:
        raise Rejected("charged")


def verify_geometry(structure: Structure, mol: Chem.Mol) -> None:
    """Rejected for what `find_input_fault` says, or as `distorted` if the distances tell other bonds than the graph."""
    fault = find_input_fault(structure)
    if fault is not None:
        raise Rejected(fault.reason)
    if not is_bonded_as(structure, ((b.GetBeginAtomIdx(), b.GetEndAtomIdx()) for b in mol.GetBonds())):
        raise Rejected("distorted")


def write_smiles(mol: Chem.Mol) -> str:
    """Canonical isomeric SMILES with the stereochemistry of the only conformer."""
    isomer = Chem.Mol(mol)
    Chem.AssignStereochemistryFrom3D(isomer)
    parameters: Any = Chem.RemoveHsParameters()
    parameters.removeDefiningBondStereo = True
    return str(Chem.MolToSmiles(Chem.RemoveHs(isomer, parameters)))


def to_structure(mol: Chem.Mol, origin: Mapping[str, Any]) -> Structure:
    """The atoms and the only conformer of `mol`; its SMILES stands in `origin["smiles"]`."""
    return Structure(
        id="",
        numbers=np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], dtype=np.uint8),
        positions=np.array(mol.GetConformer().GetPositions(), dtype=np.float64),
        system="molecule",
        origin={**origin, "smiles": write_smiles(mol)},
        charge=Chem.GetFormalCharge(mol),
    )
