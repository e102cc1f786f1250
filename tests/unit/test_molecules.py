"""Hydrogens, graphs and geometries of molecules that a model made."""

import numpy as np
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from distillery.generators.models.molecules import add_hydrogens, to_structure, verify_geometry, verify_graph, write_smiles
from distillery.generators.proposals import Rejected
from distillery.structures.checks import find_chemistry_fault, find_input_fault


def embed(smiles: str) -> Chem.Mol:
    """With explicit hydrogens and one conformer."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0
    return mol


def heavy(smiles: str) -> Chem.Mol:
    return Chem.RemoveAllHs(embed(smiles))


@pytest.mark.parametrize("smiles", ["c1cc[nH]c1", "CC(N)=O", "C[N+](=O)[O-]", "CS(=O)(=O)c1ccccc1", "COP(=O)(OC)OC", "C#CCO"])
def test_hydrogens_are_placed_where_atoms_leave_room(smiles: str) -> None:
    full = add_hydrogens(heavy(smiles))
    verify_graph(full)
    structure = to_structure(full, {"model": "none"})
    verify_geometry(structure, full)
    assert structure.origin == {"model": "none", "smiles": Chem.CanonSmiles(smiles)}
    assert find_input_fault(structure) is None
    assert find_chemistry_fault(structure) is None


def test_heavy_atoms_stay_exactly_where_they_are() -> None:
    mol = heavy("O=C(O)c1ccccc1C(F)F")
    full = add_hydrogens(mol)
    assert np.array_equal(full.GetConformer().GetPositions()[: mol.GetNumAtoms()], mol.GetConformer().GetPositions())


def test_relaxation_turns_hydrogens_away_from_each_other() -> None:
    mol = heavy("CC(C)(C)C(C)(C)C")
    placed = Chem.AddHs(mol, addCoords=True)
    assert closest_hydrogens(add_hydrogens(mol)) > closest_hydrogens(placed) + 0.01


def closest_hydrogens(mol: Chem.Mol) -> float:
    positions = mol.GetConformer().GetPositions()[[atom.GetAtomicNum() == 1 for atom in mol.GetAtoms()]]
    i, j = np.triu_indices(len(positions), 1)
    return float(np.linalg.norm(positions[i] - positions[j], axis=1).min())


def test_the_same_molecule_gets_the_same_hydrogens() -> None:
    one, other = (to_structure(add_hydrogens(heavy("OCC(N)CO")), {}) for _ in range(2))
    assert one.positions.tobytes() == other.positions.tobytes()


def test_what_mmff_lacks_is_relaxed_by_uff() -> None:
    full = add_hydrogens(heavy("CB(C)C"))
    assert full.GetNumAtoms() == 13


def test_what_no_force_field_knows_is_rejected() -> None:
    mol = Chem.MolFromSmiles("[Og]")
    mol.AddConformer(Chem.Conformer(1))
    with pytest.raises(Rejected, match="no_force_field"):
        add_hydrogens(mol)


@pytest.mark.parametrize(("smiles", "reason"), [("CNC", "relaxation"), ("C1CC1", "hydrogens_unplaced")])
def test_where_rdkits_geometry_breaks_down_the_molecule_is_rejected(smiles: str, reason: str) -> None:
    mol = heavy(smiles)
    for atom in range(mol.GetNumAtoms()):
        mol.GetConformer().SetAtomPosition(atom, (1.4 * atom, 0.0, 0.0))
    with pytest.raises(Rejected, match=reason), rdBase.BlockLogs():
        add_hydrogens(mol)


@pytest.mark.parametrize(
    ("smiles", "reason"), [("C.C", "fragments"), ("CC(=O)[O-]", "charged"), ("C[CH2]", "radical"), ("C[NH3+]", "charged")]
)
def test_graphs_are_refused_by_reason(smiles: str, reason: str) -> None:
    with pytest.raises(Rejected, match=reason):
        verify_graph(Chem.AddHs(Chem.MolFromSmiles(smiles)))


def test_charges_pass_where_they_are_allowed() -> None:
    verify_graph(Chem.AddHs(Chem.MolFromSmiles("CC(=O)[O-]")), may_be_charged=True)


def test_a_molecule_without_its_hydrogens_is_refused() -> None:
    with pytest.raises(Rejected, match="hydrogens_missing"):
        verify_graph(Chem.MolFromSmiles("CCO"))


def test_a_broken_valence_is_refused() -> None:
    mol = Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False)
    with pytest.raises(Rejected, match="valence"):
        verify_graph(mol)


@pytest.mark.parametrize(("moved", "reason"), [([0, 0, 9.0], "distorted"), ([np.nan, 0, 0], "not_finite"), ([1e5, 0, 0], "too_large")])
def test_geometries_that_do_not_tell_the_graph_are_refused(moved: list[float], reason: str) -> None:
    mol = embed("CCO")
    structure = to_structure(mol, {})
    structure.positions[0] += moved
    with pytest.raises(Rejected, match=reason):
        verify_geometry(structure, mol)


def test_atoms_in_contact_without_a_bond_are_refused() -> None:
    mol = embed("CCC")
    structure = to_structure(mol, {})
    unbonded = Chem.RWMol(mol)
    unbonded.RemoveBond(0, 1)
    with pytest.raises(Rejected, match="distorted"):
        verify_geometry(structure, unbonded)


def test_smiles_have_the_stereochemistry_of_the_geometry() -> None:
    assert write_smiles(embed("F[C@H](Cl)/C=C/O")) == Chem.CanonSmiles("F[C@H](Cl)/C=C/O")
