"""The rdkit service: growth, conformers, and a user's own SMILES."""

import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem, rdBase
from rdkit.Chem import rdDetermineBonds, rdForceFieldHelpers
from scipy.spatial.distance import pdist

from distillery.errors import InvalidRequest, Problem, Unsupported
from distillery.generators.generator import Task, resolve_task
from distillery.generators.inputs import InputSettings
from distillery.generators.proposals import PoolExhausted, Proposal, ProposalGenerator, propose_one
from distillery.schema.generate import GenerateRequest
from distillery.structures.arrow import to_arrow
from distillery.structures.checks import find_chemistry_fault, find_input_fault
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure
from services.rdkit.charges import charge_molecule
from services.rdkit.compare import GROUPS, grow_molecules, read_molecules, share_with
from services.rdkit.conformers import make_conformers
from services.rdkit.fragments import count_atoms, load_fragments
from services.rdkit.generator import ELEMENTS, MoleculeProposer
from services.rdkit.growth import grow_molecule, join
from services.rdkit.palette import make_palette
from services.rdkit.rules import find_flaw, may_bond
from services.rdkit.torsions import turn_torsions
from services.rdkit.user_smiles import GivenSmiles, read_smiles_file


@pytest.fixture
def proposer() -> MoleculeProposer:
    return MoleculeProposer()


def task_of(proposer: MoleculeProposer, n: int = 10, seed: int = 5, **request: Any) -> Task:
    return resolve_task(GenerateRequest(n=n, seed=seed, **request), proposer)


def propose(proposer: MoleculeProposer, task: Task, n: int) -> list[Proposal | str]:
    return [propose_one(proposer, task, attempt) for attempt in range(n)]


def structures_of(outcomes: list[Proposal | str]) -> list[Structure]:
    return [structure for outcome in outcomes if isinstance(outcome, Proposal) for structure in outcome.structures]


def grow(n: int, low: int, high: int, elements: tuple[str, ...] = DEFAULT_ELEMENTS) -> list[Chem.Mol]:
    palette = make_palette(frozenset(elements), tuple((e, 1.0) for e in elements if e != "H"))
    rngs = [np.random.default_rng([11, i]) for i in range(n)]
    mols = [grow_molecule(palette, int(rng.integers(low, high + 1)), rng) for rng in rngs]
    return [mol for mol in mols if mol is not None]


@pytest.fixture(scope="module")
def grown() -> list[Chem.Mol]:
    return grow(200, 10, 100)


def symbols_of(mol: Chem.Mol) -> set[str]:
    return {atom.GetSymbol() for atom in Chem.AddHs(mol).GetAtoms()}


def test_every_fragment_is_neutral_closed_shell_and_known_to_a_force_field() -> None:
    with rdBase.BlockLogs():
        for fragment in load_fragments():
            capped = Chem.MolFromSmiles(Chem.MolToSmiles(fragment.mol).replace("*", "[H]"))
            full = Chem.AddHs(capped)
            assert Chem.GetFormalCharge(full) == 0
            assert not any(atom.GetNumRadicalElectrons() for atom in full.GetAtoms())
            assert full.GetNumAtoms() == fragment.n_atoms == count_atoms(fragment.mol)
            assert rdForceFieldHelpers.MMFFHasAllMoleculeParams(full) or rdForceFieldHelpers.UFFHasAllMoleculeParams(full)


def test_the_library_has_no_fragment_that_the_rules_forbid() -> None:
    assert [Chem.MolToSmiles(f.mol) for f in load_fragments() if find_flaw(f.mol) is not None] == []


@pytest.mark.parametrize(
    ("smiles", "flaw"),
    [
        ("CC(=O)Cl", "acyl halide"),
        ("CC(=O)OC(C)=O", "anhydride"),
        ("COCOC", "open acetal or aminal"),
        ("C=CO", "enol or enamine"),
        ("COOOC", "chain of heteroatoms"),
        ("CNNNC", "chain of heteroatoms"),
        ("CSN", "sulfenamide"),
        ("C[SiH2]CP", "geminal metalloids"),
        ("OC(=O)O", "carbamic or carbonic acid"),
        ("C[SH](=O)=O", "sulfur(IV, VI) hydride"),
    ],
)
def test_unstable_arrangements_are_found_by_name(smiles: str, flaw: str) -> None:
    assert find_flaw(Chem.MolFromSmiles(smiles)) == flaw


@pytest.mark.parametrize("smiles", ["CC(=O)Nc1ccc(O)cc1", "CS(=O)(=O)NC", "C1OCCO1", "FC(F)(F)Oc1ccccc1", "COP(=O)(OC)OC", "C[N+](=O)[O-]"])
def test_ordinary_molecules_have_no_flaw(smiles: str) -> None:
    assert find_flaw(Chem.MolFromSmiles(smiles)) is None


def test_new_bonds_join_no_two_oxygens_and_no_nitrogen_to_a_halogen() -> None:
    assert may_bond("C", "O")
    assert may_bond("P", "O")
    assert not any(may_bond(*pair) for pair in [("O", "O"), ("N", "N"), ("N", "Cl"), ("P", "Si"), ("Si", "S"), ("F", "F")])


def test_joining_keeps_every_atom_but_the_two_that_the_bond_replaces() -> None:
    pyrrole, amide = Chem.MolFromSmiles("c1cc[nH]c1"), Chem.MolFromSmiles("*C(N)=O")
    nitrogen = pyrrole.GetSubstructMatch(Chem.MolFromSmarts("[nH]"))[0]
    joined = join(pyrrole, nitrogen, amide, 0)
    assert Chem.MolToSmiles(joined) == Chem.CanonSmiles("NC(=O)n1cccc1")
    assert count_atoms(joined) == count_atoms(pyrrole) + count_atoms(amide) - 2


def test_grown_molecules_are_whole_neutral_closed_shell_and_without_flaw(grown: list[Chem.Mol]) -> None:
    for mol in grown:
        assert len(Chem.GetMolFrags(mol)) == 1
        assert Chem.GetFormalCharge(mol) == 0
        assert not any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms())
        assert all(atom.GetAtomicNum() for atom in mol.GetAtoms())
        assert find_flaw(mol) is None


def test_grown_molecules_are_nearly_all_different(grown: list[Chem.Mol]) -> None:
    smiles = [Chem.MolToSmiles(mol) for mol in grown]
    assert len(set(smiles)) >= 0.98 * len(smiles)


def test_every_element_is_in_at_least_a_sixth_of_the_molecules(grown: list[Chem.Mol]) -> None:
    counts = Counter(symbol for mol in grown for symbol in symbols_of(mol))
    assert {e: counts[e] for e in DEFAULT_ELEMENTS if counts[e] < len(grown) / 6} == {}


def test_sizes_spread_over_the_whole_range(grown: list[Chem.Mol]) -> None:
    histogram, _ = np.histogram([count_atoms(mol) for mol in grown], bins=6, range=(10, 100))
    assert histogram.min() >= 15


@pytest.mark.parametrize(("low", "high"), [(10, 12), (30, 30), (95, 100)])
def test_narrow_size_ranges_are_met(low: int, high: int) -> None:
    sizes = [count_atoms(mol) for mol in grow(30, low, high)]
    assert max(sizes) <= high
    assert sum(low <= size for size in sizes) >= 27


@pytest.mark.parametrize(
    "elements", [("H", "C"), ("H", "C", "N", "O", "Si"), ("H", "C", "P"), ("H", "C", "F", "Cl"), ("H", "C", "O", "B", "Br", "I")]
)
def test_growth_uses_the_allowed_elements_and_no_other(elements: tuple[str, ...]) -> None:
    seen = set().union(*(symbols_of(mol) for mol in grow(60, 10, 45, elements)))
    assert seen == set(elements)


def test_structures_agree_with_the_smiles_they_record(proposer: MoleculeProposer) -> None:
    """An independent reader of coordinates finds the same bonds, and the SMILES is canonical."""
    for structure in structures_of(propose(proposer, task_of(proposer, max_atoms=45), 16)):
        assert find_input_fault(structure, DEFAULT_ELEMENTS) is None
        assert find_chemistry_fault(structure) is None
        mol = Chem.AddHs(Chem.MolFromSmiles(structure.origin["smiles"]))
        assert Chem.MolToSmiles(Chem.RemoveHs(mol)) == structure.origin["smiles"]
        assert perceive_bonds(structure) == sorted(
            sorted((bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol())) for bond in mol.GetBonds()
        )


def perceive_bonds(structure: Structure) -> list[list[str]]:
    xyz = "\n".join(f"{s} {x:.6f} {y:.6f} {z:.6f}" for s, (x, y, z) in zip(structure.symbols, structure.positions, strict=True))
    mol = Chem.MolFromXYZBlock(f"{len(structure)}\n\n{xyz}\n")
    rdDetermineBonds.DetermineConnectivity(mol)
    return sorted(sorted((bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol())) for bond in mol.GetBonds())


def test_molecules_are_at_a_minimum_of_their_force_field(proposer: MoleculeProposer) -> None:
    [benzene] = make_conformers(Chem.MolFromSmiles("c1ccccc1"), 1, seed=1)
    assert benzene.force_field == "MMFF94"
    assert np.linalg.norm(benzene.positions[0] - benzene.positions[1]) == pytest.approx(1.395, abs=0.01)


def test_turned_torsions_leave_bonds_and_angles_and_no_clash(proposer: MoleculeProposer) -> None:
    """Butanol's C-C and C-O bonds are as the force field left them; other conformers than a relaxation gives come out."""
    mol = Chem.AddHs(Chem.MolFromSmiles("CCCCO"))
    still = make_conformers(mol, 1, seed=3)[0]
    n_others = 0
    for seed in range(20):
        turned = turn_torsions(still, np.random.default_rng(seed))
        assert 1 <= len(turned.turned) <= 3
        for bond in mol.GetBonds():
            ends = [bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]
            assert pdist(turned.positions[ends]) == pytest.approx(pdist(still.positions[ends]), abs=1e-6)
        hydrogens = turned.positions[turned.numbers == 1]
        assert pdist(hydrogens).min() > 1.4
        n_others += not np.allclose(pdist(turned.positions), pdist(still.positions), atol=0.05)
    assert n_others == 20


def test_a_molecule_without_rotatable_bonds_stays_as_it_was() -> None:
    benzene = make_conformers(Chem.MolFromSmiles("c1ccccc1"), 1, seed=3)[0]
    assert turn_torsions(benzene, np.random.default_rng(0)) is benzene


def test_a_share_of_the_conformers_is_turned_and_says_so(proposer: MoleculeProposer) -> None:
    made = structures_of(propose(proposer, task_of(proposer, max_atoms=40), 100))
    turned = [s for s in made if "turned" in s.origin]
    assert 0.15 * len(made) < len(turned) < 0.45 * len(made)
    none = structures_of(propose(proposer, task_of(proposer, max_atoms=40, options={"torsions": 0}), 30))
    assert not any("turned" in s.origin for s in none)


def test_ions_come_only_where_charges_are_asked_for(proposer: MoleculeProposer) -> None:
    def charges(**options: Any) -> list[int]:
        made = structures_of(propose(proposer, task_of(proposer, max_atoms=40, options=options), 60))
        found = [Chem.GetFormalCharge(Chem.MolFromSmiles(s.origin["smiles"])) for s in made]
        assert found == [s.origin.get("charge", 0) for s in made]
        return found

    assert set(charges()) == {0}
    assert {-1, 1} <= set(charges(charges=True))
    task = task_of(proposer, min_atoms=5, options={"smiles": ["CC(=O)[O-]"]})
    assert propose(proposer, task, 1) == ["charged"]
    task = task_of(proposer, min_atoms=5, options={"smiles": ["CC(=O)[O-]"], "charges": True})
    assert structures_of(propose(proposer, task, 1))[0].origin["charge"] == -1


@pytest.mark.parametrize(
    ("smiles", "charged"), [("CC(=O)O", "CC(=O)[O-]"), ("CN(C)C", "C[NH+](C)C"), ("CC(=O)NC", None), ("Nc1ccccc1", None)]
)
def test_acids_lose_and_amines_gain_a_proton(smiles: str, charged: str | None) -> None:
    mol = charge_molecule(Chem.MolFromSmiles(smiles), np.random.default_rng(0))
    assert (mol and Chem.MolToSmiles(mol)) == charged


def test_an_amino_acid_becomes_a_zwitterion() -> None:
    made = (charge_molecule(Chem.MolFromSmiles("NCC(=O)O"), np.random.default_rng(seed)) for seed in range(20))
    assert "[NH3+]CC(=O)[O-]" in {Chem.MolToSmiles(mol) for mol in made if mol is not None}


def test_grown_molecules_have_groups_as_often_as_real_ones() -> None:
    """Percent; bounds around those of drugs and of the solubility set in the README."""
    grown = list(grow_molecules(400))
    for group, low, high in (
        ("nitro", 1.5, 8), ("N-N, not in an aromatic ring", 0.7, 5), ("N-O, others", 1, 6), ("three-membered ring", 2, 9),
        ("nitrile", 0.5, 5),
        ("thiol", 0, 4), ("alcohol", 6, 25), ("amide", 10, 30), ("carboxylic acid", 4, 18), ("aldehyde", 0, 3), ("peroxide", 0.1, 2.5),
    ):  # fmt: skip
        share = 100 * share_with(grown, Chem.MolFromSmarts(GROUPS[group]))
        assert low <= share <= high, group


def test_files_of_molecules_are_read_without_counter_ions_and_other_elements(tmp_path: Path) -> None:
    (tmp_path / "drugs.csv").write_text("smiles\nBr.CCCCCCO\nc1ccccc1Br\nC\nCCCCCN\n", encoding="utf-8")
    assert [Chem.MolToSmiles(mol) for mol in read_molecules(tmp_path / "drugs.csv")] == ["CCCCCCO", "CCCCCN"]


def test_uff_takes_over_where_mmff_has_no_parameters() -> None:
    [acid] = make_conformers(Chem.MolFromSmiles("OB(O)c1ccccc1"), 1, seed=1)
    assert acid.force_field == "UFF"


def test_a_molecule_no_force_field_knows_is_rejected(proposer: MoleculeProposer) -> None:
    task = task_of(proposer, min_atoms=5, options={"smiles": ["FS(F)(F)(F)(F)F"]})
    assert propose_one(proposer, task, 0) == "no_force_field"


def test_heavier_weights_bring_an_element_more_often(proposer: MoleculeProposer) -> None:
    def count_silicon(weights: dict[str, float]) -> int:
        task = task_of(proposer, max_atoms=30, options={"element_weights": weights})
        return sum("Si" in structure.symbols for structure in structures_of(propose(proposer, task, 20)))

    assert count_silicon({"Si": 0}) == 0 < count_silicon({}) < count_silicon({"Si": 50})


@pytest.mark.parametrize(("elements", "named"), [(["C", "N"], "H missing"), (["H", "O"], "C missing"), (["N"], "H and C missing")])
def test_growth_without_hydrogen_or_carbon_is_refused_by_name(proposer: MoleculeProposer, elements: list[str], named: str) -> None:
    with pytest.raises(Unsupported, match=named):
        task_of(proposer, elements=elements)


def test_weights_that_leave_nothing_are_refused(proposer: MoleculeProposer) -> None:
    with pytest.raises(Unsupported, match="element_weights"):
        task_of(proposer, elements=["H", "C"], options={"element_weights": {"C": 0}})


def test_conformers_differ_and_are_one_molecule(proposer: MoleculeProposer) -> None:
    task = task_of(proposer, options={"conformers": 6, "smiles": ["CCC(O)CC(N)CC(=O)OCC"]})
    [proposal] = [o for o in propose(proposer, task, 1) if isinstance(o, Proposal)]
    assert 2 <= len(proposal.structures) <= 6
    assert {s.origin["smiles"] for s in proposal.structures} == {proposal.key}
    assert [s.origin["conformer"] for s in proposal.structures] == list(range(len(proposal.structures)))
    spectra = [np.sort(np.linalg.norm(s.positions[:, None] - s.positions, axis=2).ravel()) for s in proposal.structures]
    assert all(np.abs(a - b).max() >= 0.1 for i, a in enumerate(spectra) for b in spectra[:i])


def test_a_rigid_molecule_has_one_conformer() -> None:
    assert len(make_conformers(Chem.MolFromSmiles("C1C2CC1C2"), 5, seed=3)) == 1


SMILES = ["CCO ethanol", "", "# comment", "c1ccccc1C", "CC(=O)Nc1ccc(O)cc1 paracetamol", "C[C@H](N)C(=O)O L-alanine", "C[C@@H](N)C(=O)O"]


def test_every_given_smiles_is_taken_once_in_an_order_of_the_seed(proposer: MoleculeProposer) -> None:
    def lines(seed: int) -> list[int]:
        task = task_of(proposer, seed=seed, min_atoms=5, options={"smiles": SMILES})
        outcomes = propose(proposer, task, 6)
        assert outcomes[5] == "smiles_used_up"
        return [structure.origin["line"] for structure in structures_of(outcomes)]

    assert sorted(lines(1)) == [1, 4, 5, 6, 7]
    assert lines(1) == lines(1)
    assert len({tuple(lines(seed)) for seed in range(1, 6)}) > 1


def lines_of(outcomes: list[Proposal | str]) -> list[int]:
    return [structure.origin["line"] for structure in structures_of(outcomes)]


def take(proposer: MoleculeProposer, start: int, n: int, **options: Any) -> list[Proposal | str]:
    """What a request for a pool_slice brings; its own seed is another each time."""
    request = {"min_atoms": 5, "options": {"smiles": SMILES, **options}, "pool_slice": {"seed": 3, "start": start}}
    task, outcomes = task_of(proposer, n, seed=start, **request), list[Proposal | str]()
    with suppress(PoolExhausted):
        for attempt in range(10 * n):
            outcomes.append(propose_one(proposer, task, attempt))
    return outcomes


def test_requests_for_adjacent_stretches_share_out_the_given_smiles(proposer: MoleculeProposer) -> None:
    first, second = lines_of(take(proposer, 0, 2)), lines_of(take(proposer, 2, 3))
    assert (len(first), len(second)) == (2, 3)
    assert sorted(first + second) == [1, 4, 5, 6, 7]
    assert lines_of(take(proposer, 0, 5)) == first + second


def test_every_given_smiles_is_taken_once_before_any_is_taken_again(proposer: MoleculeProposer) -> None:
    lines = [line for start, n in ((0, 4), (4, 7), (11, 4)) for line in lines_of(take(proposer, start, n))]
    assert all(sorted(lap) == [1, 4, 5, 6, 7] for lap in (lines[:5], lines[5:10], lines[10:]))


def test_a_molecule_taken_again_is_another_conformer_and_no_duplicate(proposer: MoleculeProposer) -> None:
    generator = ProposalGenerator(MoleculeProposer, workers=1)
    request = {"min_atoms": 5, "options": {"smiles": ["CCCCO", "CCCN"]}, "pool_slice": {"seed": 3, "start": 0}}
    made = generator.generate(task_of(proposer, 4, **request), threading.Event(), lambda made, n: None)
    generator.close()
    assert (made.attempts, made.rejected) == (4, {})
    a, b = (s for s in made.structures if s.origin["given"] == "CCCCO")
    assert np.abs(np.sort(pdist(a.positions)) - np.sort(pdist(b.positions))).max() > 0.01


def test_a_molecule_stands_for_as_many_structures_as_it_may_have_conformers(proposer: MoleculeProposer) -> None:
    taken = [take(proposer, start, n, conformers=4)[:own] for start, n, own in ((0, 6, 2), (6, 6, 1), (12, 8, 2))]
    assert [len(outcomes) for outcomes in taken] == [2, 1, 2]
    assert sorted({line for outcomes in taken for line in lines_of(outcomes)}) == [1, 4, 5, 6, 7]


@pytest.mark.parametrize("start", [0, 3])
def test_a_request_for_conformers_that_molecules_do_not_have_goes_on_through_all(proposer: MoleculeProposer, start: int) -> None:
    rigid = ["c1ccccc1", "c1ccncc1", "c1ccoc1", "c1ccsc1", "C1CC1", "c1c[nH]cn1"]
    request = {"min_atoms": 5, "options": {"smiles": rigid, "conformers": 10}, "pool_slice": {"seed": 3, "start": start}}
    generator = ProposalGenerator(MoleculeProposer, workers=1)
    made = generator.generate(task_of(proposer, 6, **request), threading.Event(), lambda made, n: None)
    generator.close()
    assert len(made.structures) == 6


def test_a_stretch_of_unsuitable_smiles_ends_with_their_reasons(proposer: MoleculeProposer) -> None:
    generator = ProposalGenerator(MoleculeProposer, workers=1)
    request = {"options": {"smiles": ["CC[NH3+]", "CCCCO", "CC.CC"]}, "pool_slice": {"seed": 3, "start": 0}}
    made = generator.generate(task_of(proposer, 3, **request), threading.Event(), lambda made, n: None)
    generator.close()
    assert (len(made.structures), made.attempts, made.rejected) == (1, 3, {"charged": 1, "fragments": 1})


def test_growth_takes_no_notice_of_a_stretch(proposer: MoleculeProposer) -> None:
    alone, shared = (task_of(proposer, 2, max_atoms=20, **extra) for extra in ({}, {"pool_slice": {"seed": 3, "start": 7}}))
    assert to_arrow(structures_of(propose(proposer, alone, 2))) == to_arrow(structures_of(propose(proposer, shared, 2)))


def test_given_stereo_name_and_text_are_kept(proposer: MoleculeProposer) -> None:
    [structure] = structures_of(propose(proposer, task_of(proposer, options={"smiles": ["C[C@H](N)C(=O)O  L-alanine "]}), 1))
    assert structure.origin["smiles"] == Chem.CanonSmiles("C[C@H](N)C(=O)O")
    assert structure.origin["name"] == "L-alanine"
    assert structure.origin["given"] == "C[C@H](N)C(=O)O"


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("[Na+].[Cl-]", "fragments"),
        ("C[NH3+]", "charged"),
        ("CC[CH2]", "radical"),
        ("CCCC[SeH]", "unknown_element"),
        ("CCCCCCCBr", "unknown_element"),
        ("C", "size"),
        ("C" * 50, "size"),
    ],
)
def test_given_molecules_that_do_not_fit_are_rejected_with_a_reason(proposer: MoleculeProposer, smiles: str, reason: str) -> None:
    assert propose_one(proposer, task_of(proposer, options={"smiles": [smiles]}), 0) == reason


@pytest.mark.parametrize(("given", "left"), [("[13CH3]C", "CC"), ("CC[C@H]([2H])O", "CCCO"), ("C[C@@H](N)C([2H])=O", "C[C@@H](N)C=O")])
def test_isotope_labels_are_dropped_and_what_stereo_they_alone_made(given: str, left: str) -> None:
    assert Chem.MolToSmiles(GivenSmiles(1, given).parse()) == Chem.CanonSmiles(left)


@pytest.mark.parametrize("smiles", ["CC[C@H]([2H])O", "C[C@H]1C[C@@]1(C)C[N@]1CC1C"])
def test_stereo_that_no_coordinates_show_refuses_no_molecule(proposer: MoleculeProposer, smiles: str) -> None:
    outcome = propose_one(proposer, task_of(proposer, options={"smiles": [smiles]}), 0)
    assert isinstance(outcome, Proposal)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"smiles": ["CCO", "C(C"]}, r"line 2: 'C\(C'"),
        ({"smiles": ["CCO", "CC", "FC(F)(F)(F)F"]}, "line 3: .*valence"),
        ({"smiles": ["Cc1cccc1"]}, "line 1: .*kekulize"),
        ({"smiles": ["", "# only a comment"]}, "nothing but blank lines"),
        ({"smiles": ["C"], "smiles_file": "x.smi"}, "not both"),
        ({"smiles": ["C"], "element_weights": {"C": 1}}, "no meaning"),
        ({"conformer": 2}, "did you mean 'conformers'"),
        ({"conformers": 0}, "conformers"),
        ({"element_weights": {"Fe": 1}}, "element_weights"),
        ({"element_weights": {"Si": -1}}, "element_weights"),
    ],
)
def test_bad_options_are_refused_by_name(proposer: MoleculeProposer, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        task_of(proposer, options=options)


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    (folder / "mine.smi").write_text("\n".join(SMILES))
    (tmp_path / "secret.smi").write_text("CCO")
    monkeypatch.setenv("DISTILLERY_SERVICE_INPUTS", str(folder))
    return folder


def test_a_file_gives_the_same_bytes_as_its_lines(inputs: Path) -> None:
    proposer = MoleculeProposer()
    named = [{"smiles": SMILES}, {"smiles_file": "mine.smi"}, {"smiles_file": str(inputs / "mine.smi")}]
    made = [structures_of(propose(proposer, task_of(proposer, min_atoms=5, options=options), 5)) for options in named]
    assert len(made[0]) == 5
    for other in made[1:]:
        assert all(np.array_equal(a.positions, b.positions) and a.origin == b.origin for a, b in zip(made[0], other, strict=True))


def test_a_file_that_changed_is_read_again(inputs: Path) -> None:
    proposer = MoleculeProposer()
    task_of(proposer, options={"smiles_file": "mine.smi"})
    (inputs / "mine.smi").write_text("nonsense\n")
    with pytest.raises(InvalidRequest, match="line 1: 'nonsense'"):
        task_of(proposer, options={"smiles_file": "mine.smi"})


def test_lines_of_a_file_that_can_not_be_read_are_left_out_counted_and_named(inputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    proposer = MoleculeProposer()
    (inputs / "mine.smi").write_text("smiles name\nCCO\nC(C)(C)(C)(C)C\nCCN\nCCO |^1:0\n")
    task = task_of(proposer, min_atoms=5, options={"smiles_file": "mine.smi"})
    made = propose(proposer, task, 5)
    assert sorted(structure.origin["given"] for structure in structures_of(made)) == ["CCN", "CCO"]
    outcomes = [propose_one(proposer, task, attempt) for attempt in range(5)]
    assert outcomes.count("unreadable") == 3
    assert "3 of 5 SMILES of mine.smi are left out: line 1: 'smiles' is not a SMILES" in caplog.text
    assert "line 3: 'C(C)(C)(C)(C)C'" in caplog.text
    assert "without its second |" in caplog.text


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../secret.smi", "outside"),
        ("/etc/passwd", "outside"),
        ("../no-such-file.smi", "outside"),
        ("link.smi", "outside"),
        ("missing.smi", "is not a file"),
        (".", "is not a file"),
        ("a\0b", "not a usable path"),
        ("x" * 900, "smiles_file"),
        ("latin1.smi", "UTF-8"),
    ],
)
def test_files_that_may_not_or_cannot_be_read_are_refused(inputs: Path, name: str, said: str) -> None:
    (inputs / "link.smi").symlink_to(inputs.parent / "secret.smi")
    (inputs / "latin1.smi").write_bytes(b"CCO \xe4thanol\n")
    with pytest.raises(InvalidRequest, match=said):
        task_of(MoleculeProposer(), options={"smiles_file": name})


@pytest.mark.parametrize(
    ("content", "smiles", "names"),
    [
        ("\ufeffCCO ethanol\nCC", ["CCO", "CC"], ["ethanol", None]),
        ("CCO ethanol\r\nCC\r\n", ["CCO", "CC"], ["ethanol", None]),
        ("CCO\rCC\r", ["CCO", "CC"], [None, None]),
        ("CCO\tä name\xa0of words\n", ["CCO"], ["ä name\xa0of words"]),
        ("# \n\nC[CH]C |^1:1| a name\n", ["C[CH]C |^1:1|"], ["a name"]),
        ("CCC |^1:1|\n", ["CCC |^1:1|"], [None]),
        ("CCO |not first\n".replace("|", "a|"), ["CCO"], ["a|not first"]),
    ],
)
def test_a_file_is_read_as_it_is_meant(inputs: Path, content: str, smiles: list[str], names: list[str | None]) -> None:
    (inputs / "mine.smi").write_bytes(content.encode())
    found = read_smiles_file("mine.smi", InputSettings())
    assert [given.text for given in found] == smiles
    assert [given.name for given in found] == names


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\0"])
@pytest.mark.parametrize("line", ["CCO{}CCN", "CCO{}", "{}CCO", "CCO a{}name", "# a comment{}CCN"])
def test_what_some_take_for_a_lines_end_is_refused_by_name(inputs: Path, line: str, odd: str) -> None:
    text = f"CC\n{line.format(odd)}\nCCC\n"
    (inputs / "mine.smi").write_bytes(text.encode())
    for options in ({"smiles_file": "mine.smi"}, {"smiles": text.split("\n")}):
        with pytest.raises(InvalidRequest, match=rf"line 2 holds the character U\+{ord(odd):04X}"):
            task_of(MoleculeProposer(), options=options)


@pytest.mark.parametrize("text", ["CCO\nCCN", "CCO\rCCN"])
def test_two_lines_are_not_one_smiles(proposer: MoleculeProposer, text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"line 1 holds the character U\+000[AD]"):
        task_of(proposer, options={"smiles": [text]})


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [("CCCCO |^1:0|", "radical"), ("CCCCO |^1:0| name", "radical"), ("CCCC |^2:0|", "radical"), ("CCC[CH2] |^1:3|", "radical")],
)
def test_radicals_of_an_extension_are_radicals(proposer: MoleculeProposer, smiles: str, reason: str) -> None:
    assert propose_one(proposer, task_of(proposer, min_atoms=5, options={"smiles": [smiles]}), 0) == reason


@pytest.mark.parametrize("extension", ["|(0,0,;1,0,;2,0,;3,0,;4,0,)|", "|$a;;;;$|", "|&1:0|", "||"])
def test_an_extension_that_changes_no_molecule_changes_none(proposer: MoleculeProposer, extension: str) -> None:
    texts = ("CCCCO", f"CCCCO {extension} name")
    plain, extended = (structures_of(propose(proposer, task_of(proposer, options={"smiles": [text]}), 1))[0] for text in texts)
    assert np.array_equal(plain.positions, extended.positions)
    assert extended.origin["name"] == "name"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("CCO |^1:0", r"without its second \|"),
        ("CCO |nonsense|", "not a SMILES RDKit can read"),
        ("CCO |rb:0:3|", "a query or a polymer"),
        ("CC |Sg:n:0:1:ht|", "a query or a polymer"),
    ],
)
def test_an_extension_that_can_not_be_followed_is_refused(proposer: MoleculeProposer, text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=f"line 2: .*{said}"):
        task_of(proposer, options={"smiles": ["CC", text]})


def test_without_an_input_folder_the_refusal_says_how_to_open_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTILLERY_SERVICE_INPUTS", raising=False)
    with pytest.raises(Problem, match="set DISTILLERY_SERVICE_INPUTS"):
        task_of(MoleculeProposer(), options={"smiles_file": "mine.smi"})


def test_the_card_names_every_element_that_growth_knows(proposer: MoleculeProposer) -> None:
    held = set().union(*(fragment.elements for fragment in load_fragments()))
    assert held == set(ELEMENTS) == set(proposer.metadata.systems["molecule"].elements)
