"""From MolDiff's sketches back to molecules: bonds, hydrogens, charges, and an end to every search."""

import time
from functools import cache

import networkx as nx
import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from distillery.generators.models.molecules import write_smiles
from distillery.generators.proposals import Rejected
from services.moldiff.reconstruction import reconstruct
from services.moldiff.sketch import Sketch, read_sketch
from services.rdkit.growth import grow_molecule
from services.rdkit.palette import make_palette

_SMILES = r"""
CC(=O)Oc1ccccc1C(=O)O Cn1cnc2c1c(=O)n(C)c(=O)n2C CC(C)Cc1ccc(C(C)C(=O)O)cc1 CC(=O)Nc1ccc(O)cc1
O=C(O)c1cn(C2CC2)c2cc(N3CCNCC3)c(F)cc2c1=O CN1CCN(C2=Nc3cc(Cl)ccc3Nc3ccccc32)CC1
Cc1ccc(NC(=O)c2ccc(CN3CCN(C)CC3)cc2)cc1Nc1nccc(-c2cccnc2)n1 COc1cc2ncnc(Nc3ccc(F)c(Cl)c3)c2cc1OCCCN1CCOCC1
CS(=O)(=O)CCNCc1ccc(-c2ccc3ncnc(Nc4ccc(OCc5cccc(F)c5)c(Cl)c4)c3c2)o1 CC1(C)SC2C(NC(=O)Cc3ccccc3)C(=O)N2C1C(=O)O
NS(=O)(=O)c1cc2c(cc1Cl)NCNS2(=O)=O CN(C)CCCN1c2ccccc2Sc2ccc(Cl)cc21 OC(Cn1cncn1)(Cn1cncn1)c1ccc(F)cc1F
Clc1ccccc1C(c1ccccc1)(c1ccccc1)n1ccnc1 COc1ccc2[nH]c(S(=O)Cc3ncc(C)c(OC)c3C)nc2c1 CNC(=C[N+](=O)[O-])NCCSCc1ccc(CN(C)C)o1
CN/C(=N/C#N)NCCSCc1nc[nH]c1C NC(N)=Nc1nc(CSCCC(N)=NS(N)(=O)=O)cs1 Cc1nccn1CC1CCc2c(c1=O)c1ccccc1n2C CC(C)NCC(O)COc1cccc2ccccc12
CNCCC(Oc1ccc(C(F)(F)F)cc1)c1ccccc1 Cc1[nH]c(=O)[nH]c(=O)c1F O=c1[nH]cc(F)c(=O)[nH]1 Nc1nc2[nH]cnc2c(=S)[nH]1 O=c1[nH]cnc2[nH]ncc12
Cc1cn(C2CC(N=[N+]=[N-])C(CO)O2)c(=O)[nH]c1=O Nc1ccn(C2CSC(CO)O2)c(=O)n1 CC(C)n1c(/C=C/C(O)CC(O)CC(=O)O)c(-c2ccc(F)cc2)c2ccccc21
CC(C)c1nc(N(C)S(C)(=O)=O)nc(-c2ccc(F)cc2)c1/C=C/C(O)CC(O)CC(=O)O Cc1ccc(-c2cc(C(F)(F)F)nn2-c2ccc(S(N)(=O)=O)cc2)cc1
CC1=C(C(=O)OC)C(c2ccccc2[N+](=O)[O-])C(C(=O)OC)=C(C)N1 CCOC(=O)C1=C(COCCN)NC(C)=C(C(=O)OC)C1c1ccccc1Cl
CN1C(=O)CN=C(c2ccccc2)c2cc(Cl)ccc21 Cc1nnc2n1-c1ccc(Cl)cc1C(c1ccccc1Cl)=NC2 O=C(NO)CCCCCCC(=O)Nc1ccccc1
O=C(CCCCCCC(=O)Nc1ccccc1)NO Cc1onc(-c2ccccc2Cl)c1C(=O)NC1C(=O)N2C1SC(C)(C)C2C(=O)O CN(C)c1ccc2nc3ccc(=[N+](C)C)cc-3sc2c1
NC(=O)c1ccc[n+](C2OC(COP(=O)([O-])O)C(O)C2O)c1 Nc1ncnc2c1ncn2C1OC(COP(=O)(O)O)C(O)C1O Nc1ncnc2c1ncn2C1OC2COP(=O)(O)OC2C1O
CCOP(=S)(OCC)Oc1nc(Cl)c(Cl)cc1Cl COP(=S)(OC)Oc1ccc([N+](=O)[O-])cc1 COP(N)(=O)SC O=C(O)CNCP(=O)(O)O
OC(Cc1cccnc1)(P(=O)(O)O)P(=O)(O)O CN(C)C(=N)NC(=N)N NC(=N)NCCCC(N)C(=O)O C[N+](C)(C)CC(O)CC(=O)[O-] Cn1c(=O)c2[nH]cnc2n(C)c1=O
Cn1c(=O)[nH]c2ncn(C)c2c1=O O=c1[nH]c(=O)c2[nH]c(=O)[nH]c2[nH]1 Nc1nc2ncc(CNc3ccc(C(=O)NC(CCC(=O)O)C(=O)O)cc3)nc2c(=O)[nH]1
Cc1cc2nc3c(=O)[nH]c(=O)nc-3n(CC(O)C(O)C(O)CO)c2cc1C OCc1cc[n+]([O-])cc1 [O-][n+]1ccccc1S C[n+]1ccc(C(=O)[O-])cc1
[O-][S+](c1ccccc1)c1ccccc1 CC[S+]([O-])CC O=S1(=O)NC(=O)c2ccccc21 CC1=CC(=O)NS(=O)(=O)O1 Cc1cc(NS(=O)(=O)c2ccc(N)cc2)no1
CCCCc1nc(Cl)c(CO)n1Cc1ccc(-c2ccccc2-c2nn[nH]n2)cc1 COC(=O)NC1C(=O)N(C)c2ccccc2C1c1ccccc1 Cc1ccc2c(c1)nc1ccccc1[n+]2[O-]
[O-][n+]1ccc2ccccc2c1 Nc1nonc1C(=N)NO c1ccc2c(c1)ncc1cccn12 c1ccc2c(c1)[nH]c1cnccc12 COc1ccc2[nH]cc(CCNC(C)=O)c2c1
NCCc1c[nH]c2ccc(O)cc12 NC(Cc1c[nH]cn1)C(=O)O NC(Cc1cnc[nH]1)C(=O)O CNS(=O)(=O)Cc1ccc2[nH]cc(CCN(C)C)c2c1
O=C1Nc2ccc(Cl)cc2C(C#CC2CC2)(C(F)(F)F)O1 Cc1ccnc2c1NC(=O)c1cccnc1N2C1CC1 N#Cc1ccc(C(c2ccc(C#N)cc2)n2cncn2)cc1
Cc1c(Cl)cccc1Nc1ccccc1C(=O)O OC(=O)Cc1ccccc1Nc1c(Cl)cccc1Cl CN1C(C(=O)Nc2ccccn2)=C(O)c2ccccc2S1(=O)=O
O=C1c2ccccc2C(=O)N1C1CCC(=O)NC1=O O=c1c(O)c(-c2ccc(O)c(O)c2)oc2cc(O)cc(O)c12 O=c1ccc2cc3ccoc3cc2o1 CC1(C)C=Cc2c(ccc3ccc(=O)oc23)O1
O=C1C=CC(=O)c2ccccc21 CN1C2CCC1CC(OC(=O)C(CO)c1ccccc1)C2 CCN(CC)CCOC(=O)c1ccc(N)cc1 CCN(CC)CC(=O)Nc1c(C)cccc1C
Clc1ccc(C(c2ccccc2)N2CCN(CCOCCO)CC2)cc1 NCC1(CC(=O)O)CCCCC1 CC(N)Cc1ccccc1 c1csc(-c2ccsc2)c1 c1ccc2sc3ccccc3c2c1
c1cc2ccc3cccc4ccc(c1)c2c34 c1ccc2cc3ccccc3cc2c1 c1ccc(-c2nnc(-c3ccccc3)o2)cc1 Cc1nnc(NS(=O)(=O)c2ccc(N)cc2)s1
CC(=O)Nc1nnc(S(N)(=O)=O)s1 O=C(Nc1nc2ccccc2s1)c1ccccc1 CCN1C=C(C(=O)O)C(=O)c2ccc(C)nc21 CSCCC(N)C(=O)O NC(CS)C(=O)O
NC(CSSCC(N)C(=O)O)C(=O)O O=S(=O)(O)c1ccccc1 NCCS(=O)(=O)O C[N+](C)(C)CCOP(=O)([O-])OCC(O)CO C[N+]1(C)CCC(C(=O)[O-])C1
FC(F)OC(F)(F)CCl ClC(Cl)(Cl)C(c1ccc(Cl)cc1)c1ccc(Cl)cc1 CN(C)N=O CN(N=O)C(=O)NC O=C(N)N(O)C(C)c1cc2ccccc2s1 c1ccc(N=Nc2ccccc2)cc1
[N-]=[N+]=Cc1ccccc1 CC(=O)C=[N+]=[N-] CCOC(=O)C=[N+]=[N-] N#Cc1ccccc1 S=C=Nc1ccccc1 O=C=Nc1ccccc1 CN=C=NC C#CC(C)O CC(C)=C=C
OP(c1ccccc1)c1ccccc1 c1ccc(P(c2ccccc2)c2ccccc2)cc1 O=P(c1ccccc1)(c1ccccc1)c1ccccc1 CP(C)(C)=O O=[PH](O)c1ccccc1 O=P(O)(O)O
COP(=O)(OC)OC Cc1ncc([N+](=O)[O-])n1CCO O=C(NC(CO)C(O)c1ccc([N+](=O)[O-])cc1)C(Cl)Cl O=C1CN(N=Cc2ccc([N+](=O)[O-])o2)C(=O)N1
O=[N+]([O-])OCC(CO[N+](=O)[O-])O[N+](=O)[O-] Cc1c([N+](=O)[O-])cc([N+](=O)[O-])cc1[N+](=O)[O-] CON=O c1ccc2c(c1)-c1ccccc1-2
Oc1cccc2cccnc12 Oc1ncnc2[nH]cnc12 Oc1ccccn1 Oc1cccnc1 O=c1cc[nH]cc1 S=c1cccc[nH]1 S=c1[nH]cnc2[nH]cnc12 N=c1cc[nH]cc1
Nc1cc[nH]c(=O)n1 Cc1c[nH]c(=O)[nH]c1=O O=c1cc(O)[nH]c(=O)[nH]1 O=c1[nH][nH]c(=O)c2ccccc12 O=c1[nH]ncc2ccccc12
O=c1[nH]c2ccccc2c(=O)o1 O=c1[nH]c2ccccc2o1 O=c1[nH]c2ccccc2s1 O=c1[nH]c2ccccc2[nH]1 c1ccc2[nH]cnc2c1 Cc1ccc2[nH]cnc2c1
Cc1ccc2nc[nH]c2c1 c1ccc2[nH]nnc2c1 c1ccc2n[nH]nc2c1 c1ccc2[nH]ncc2c1 c1ccc2n[nH]cc2c1 Cc1cc[nH]n1 Cc1ccn[nH]1
c1ccc(-c2cc[nH]n2)cc1 c1ccc(-c2ccn[nH]2)cc1 Cc1ncn[nH]1 Cc1nc[nH]n1 c1nc2[nH]cnc2cn1 c1ncc2[nH]cnc2n1 c1ncc2nc[nH]c2n1
Nc1ncnc2nc[nH]c12 Nc1nc2nc[nH]c2c(=O)[nH]1 c1cc2cnccn2c1 c1cnn2cccc2c1 c1cn2ccsc2n1 c1nnc2ccccn12 c1ccn2nccc2c1 O=c1ccnc2ccccn12
Cn1ccccc1=O Cn1c(=O)cnc2ccccc21 [O-][n+]1cccc2ccccc21 c1ccc2c[n+]([O-])ccc2c1 C[n+]1ccc([O-])cc1 C[n+]1cccc([O-])c1
CC1=NN(c2ccccc2)C(=O)C1 [O-]c1c[n+](-c2ccccc2)no1 CS(C)(=O)=NC CS(=N)(=O)c1ccccc1 C[S+](C)CCC(N)C(=O)[O-] C[S+](C)CC(=O)[O-]
[O-][N+](C)(C)CCc1ccccc1
"""
DRUG_LIKE = _SMILES.split()
"""Drugs, metabolites, heterocycles and odd groups, written for this test."""


def embed(smiles: str) -> Chem.Mol:
    """With hydrogens and one relaxed conformer."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=7) == 0, smiles
    if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        rdForceFieldHelpers.MMFFOptimizeMolecule(mol, maxIters=200)
    else:
        rdForceFieldHelpers.UFFOptimizeMolecule(mol, maxIters=200)
    return mol


def round_trip(smiles: str, *, may_be_charged: bool = False) -> tuple[str, str]:
    """SMILES of a geometry, and of what is reconstructed from its heavy atoms and bonds, or the reason why nothing is."""
    mol = embed(smiles)
    try:
        return write_smiles(mol), write_smiles(reconstruct(read_sketch(mol), may_be_charged=may_be_charged))
    except Rejected as rejected:
        return write_smiles(mol), rejected.reason


@cache
def grown_smiles() -> list[str]:
    """100 molecules that the rdkit service grows of MolDiff's elements, 10-25 atoms."""
    elements = ("C", "N", "O", "F", "P", "S", "Cl")
    palette = make_palette(frozenset({"H", *elements}), tuple((element, 1.0) for element in elements))
    grown = (grow_molecule(palette, 10 + seed % 16, np.random.default_rng(seed)) for seed in range(150))
    return list(dict.fromkeys(Chem.MolToSmiles(mol) for mol in grown if mol is not None))[:100]


@pytest.mark.parametrize(
    ("name", "smiles"),
    [
        ("indole", "c1ccc2[nH]ccc2c1"),
        ("pyrrole", "c1cc[nH]c1"),
        ("imidazole", "c1c[nH]cn1"),
        ("pyridone", "O=c1cccc[nH]1"),
        ("hypoxanthine", "O=c1[nH]cnc2nc[nH]c12"),
        ("hypoxanthine, 9H", "O=c1[nH]cnc2[nH]cnc12"),
        ("xanthine", "O=c1[nH]c(=O)c2[nH]cnc2[nH]1"),
        ("nitrobenzene", "O=[N+]([O-])c1ccccc1"),
        ("trinitromethane", "O=[N+]([O-])C([N+](=O)[O-])[N+](=O)[O-]"),
        ("betaine", "C[N+](C)(C)CC(=O)[O-]"),
        ("trigonelline", "C[n+]1cccc(C(=O)[O-])c1"),
        ("dimethyl sulfone", "CS(C)(=O)=O"),
        ("sulfoxide with charges", "C[S+](C)[O-]"),
        ("pyridine oxide", "[O-][n+]1ccccc1"),
        ("azide", "CN=[N+]=[N-]"),
        ("isonitrile", "[C-]#[N+]C"),
        ("pyridinium imide", "CC(=O)[N-][n+]1ccccc1"),
        ("4-methylimidazole", "Cc1c[nH]cn1"),
        ("5-methylimidazole", "Cc1cnc[nH]1"),
        ("2H-tetrazole", "Cc1nn[nH]n1"),
        ("imidazole oxide", "Cn1cc[n+]([O-])c1"),
        ("azulene", "c1ccc2cccc-2cc1"),
        ("phosphinine", "c1ccpcc1"),
        ("cyclooctatetraene", "C1=CC=CC=CC=C1"),
    ],
)
def test_named_systems_come_back(name: str, smiles: str) -> None:
    before, after = round_trip(smiles)
    assert after == before, name


def test_two_hundred_diverse_molecules_come_back() -> None:
    diverse = DRUG_LIKE + grown_smiles()
    assert len(diverse) >= 200
    trips = [round_trip(smiles) for smiles in diverse]
    assert [(before, after) for before, after in trips if before != after] == []


@pytest.mark.parametrize("smiles", ["CC(=O)[O-]", "O=C([O-])c1ccccc1", "C[N+](C)(C)C", "C[n+]1ccccc1"])
def test_ions_come_back_where_they_are_allowed(smiles: str) -> None:
    before, after = round_trip(smiles, may_be_charged=True)
    assert after == before


@pytest.mark.parametrize(("smiles", "neutral"), [("CC(=O)[O-]", "CC(=O)O"), ("[NH3+]CC(=O)[O-]", "NCC(=O)O")])
def test_protons_that_a_sketch_can_not_tell_make_a_neutral_molecule(smiles: str, neutral: str) -> None:
    assert round_trip(smiles)[1] == neutral


def sketch(numbers: list[int], bonds: dict[tuple[int, int], int]) -> Sketch:
    return Sketch(np.array(numbers, dtype=np.uint8), np.random.default_rng(0).normal(scale=3, size=(len(numbers), 3)), bonds)


@pytest.mark.parametrize(
    ("numbers", "bonds", "reason"),
    [
        ([6, 6], {}, "fragments"),
        ([6, 9, 9, 9, 9, 9], {(0, k): 1 for k in range(1, 6)}, "valence"),
        ([6, 6, 6], {(0, 1): 3, (1, 2): 2}, "valence"),
        ([9, 6, 6], {(0, 1): 1, (0, 2): 1}, "valence"),
        ([6, 6], {(0, 1): 4}, "aromaticity"),
        ([6, 6, 6], {(0, 1): 4, (1, 2): 4, (0, 2): 4}, "aromaticity"),
        ([6, 6, 6, 6], {(0, 1): 4, (1, 2): 4, (2, 3): 4, (0, 3): 4}, "aromaticity"),
    ],
)
def test_what_can_be_no_molecule_is_rejected_by_reason(numbers: list[int], bonds: dict[tuple[int, int], int], reason: str) -> None:
    with pytest.raises(Rejected, match=f"^{reason}$"):
        reconstruct(sketch(numbers, bonds))


def test_a_nitro_group_with_two_double_bonds_is_mended() -> None:
    mol = reconstruct(sketch([6, 7, 8, 8], {(0, 1): 1, (1, 2): 2, (1, 3): 2}))
    assert Chem.MolToSmiles(mol) == "C[N+](=O)[O-]"


def outcome_of(drawn: Sketch) -> str:
    try:
        reconstruct(drawn)
    except Rejected as rejected:
        return rejected.reason
    return "a molecule"


@pytest.mark.parametrize("palette", [[6], [7], [6, 7], [6, 7, 8, 16, 15]])
@pytest.mark.parametrize("n_atoms", [12, 28, 60])
def test_dense_aromatic_graphs_are_settled_soon(n_atoms: int, palette: list[int]) -> None:
    """Every atom in three aromatic bonds, or in two with chords: the search for double bonds has the most to try."""
    rng = np.random.default_rng(n_atoms)
    dense = nx.random_regular_graph(3, n_atoms, seed=1)
    chords = nx.cycle_graph(n_atoms)
    chords.add_edges_from(rng.permutation(n_atoms)[:10].reshape(5, 2).tolist())
    for graph in (dense, chords, nx.complete_graph(n_atoms)):
        numbers = [z if z != 8 or graph.degree(i) < 3 else 7 for i, z in enumerate(rng.choice(palette, n_atoms).tolist())]
        bonds = {(min(int(i), int(j)), max(int(i), int(j))): 4 for i, j in graph.edges}
        start = time.process_time()
        assert outcome_of(sketch(numbers, bonds)) in {"a molecule", "aromaticity", "valence", "too_many_rings"}
        assert time.process_time() - start < 5


def test_the_same_sketch_gives_the_same_molecule() -> None:
    mol = embed("Nc1nc2[nH]cnc2c(=O)[nH]1")
    assert len({Chem.MolToSmiles(reconstruct(read_sketch(mol))) for _ in range(3)}) == 1


def test_the_order_of_atoms_does_not_matter() -> None:
    mol = Chem.RemoveAllHs(embed("Nc1ncnc2[nH]cnc12"))
    rng = np.random.default_rng(3)
    orders = [rng.permutation(mol.GetNumAtoms()).tolist() for _ in range(10)]
    assert {write_smiles(reconstruct(read_sketch(Chem.RenumberAtoms(mol, order)))) for order in orders} == {"Nc1ncnc2[nH]cnc12"}
