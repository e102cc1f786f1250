"""Clusters and surfaces: shapes, distances, carbons, slabs, adsorbates, and what is refused."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.data import covalent_radii
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist

from distillery.errors import InvalidRequest, Unsupported
from distillery.generators.compounds import find_compounds
from distillery.generators.generator import Made, Task, resolve_task
from distillery.generators.proposals import Proposal, ProposalGenerator, Rejected, accept_outcome, propose_one
from distillery.schema.generate import GenerateRequest
from distillery.structures.checks import LEAST_VACUUM, find_chemistry_fault
from distillery.structures.geometry import find_bonds, find_pairs
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure, from_ase
from services.ase.carbons import find_bare_carbons, saturate_carbons
from services.ase.crystals import decorate, reference_crystal
from services.ase.generator import ClusterSurfaceProposer
from services.ase.molecules import geometry_of, molecule_names
from services.ase.packing import push_apart, slide_to_contact
from services.ase.prototypes import PROTOTYPES, lattice_of_prototype
from services.ase.radii import COVALENT, ELEMENTS, VAN_DER_WAALS

PROPOSER = ClusterSurfaceProposer()
PERTURB = {"rattle": 0.05, "strain": 0.03}


def task_for(**request: Any) -> Task:
    return resolve_task(GenerateRequest(**{"n": 1, "seed": 5, **request}), ProposalGenerator(ClusterSurfaceProposer, 1))


def propose(n_attempts: int, **request: Any) -> list[Structure]:
    """The structures of the first attempts that were accepted."""
    task = task_for(**request)
    outcomes = [propose_one(PROPOSER, task, attempt) for attempt in range(n_attempts)]
    return [o.structures[0] for o in outcomes if isinstance(o, Proposal)]


def entropy(structures: list[Structure]) -> float:
    """Shannon entropy of the elements over all atoms, bits."""
    counts = np.array(list(Counter(symbol for s in structures for symbol in s.symbols).values()))
    shares = counts / counts.sum()
    return float(-(shares * np.log2(shares)).sum())


@pytest.mark.parametrize("system", ["cluster", "surface"])
def test_most_proposals_are_accepted_and_the_elements_are_in_near_equal_shares(system: str) -> None:
    structures = propose(60, system=system, perturb=PERTURB)
    assert len(structures) >= 43  # of 50; the others are too tight for real matter
    assert {symbol for s in structures for symbol in s.symbols} == set(DEFAULT_ELEMENTS)
    assert entropy(structures) > 2.9


@pytest.mark.parametrize("system", ["cluster", "surface"])
def test_the_same_attempt_gives_the_same_structure(system: str) -> None:
    first, second = (propose(4, system=system, max_atoms=80) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.positions, b.positions)
        assert a.origin == b.origin


@pytest.mark.parametrize(("low", "high"), [(2, 6), (20, 24), (55, 55)])
def test_clusters_fit_narrow_ranges(low: int, high: int) -> None:
    structures = propose(12, system="cluster", min_atoms=low, max_atoms=high)
    assert len(structures) >= 6
    assert all(low <= len(s) <= high and not s.is_periodic for s in structures)


@pytest.mark.parametrize(("low", "high"), [(20, 24), (50, 50), (50, 110)])
def test_slabs_fit_narrow_ranges(low: int, high: int) -> None:
    structures = propose(12, system="surface", min_atoms=low, max_atoms=high)
    assert len(structures) >= 6
    assert all(low <= len(s) <= high and all(s.pbc) for s in structures)


def test_slabs_are_compact_and_keep_their_vacuum_when_rattled() -> None:
    structures = propose(20, system="surface", perturb={"rattle": 0.1}, options={"min_length": 6.0})
    assert structures
    for s in structures:
        lengths = np.linalg.norm(s.cell[:2], axis=1)
        assert lengths.min() >= 6.0
        assert lengths.max() <= 2.6 * lengths.min()
        z = s.positions[:, 2]
        assert s.cell[2, 2] - np.ptp(z) >= LEAST_VACUUM


def test_pure_metals_keep_their_reference_lattice_constant() -> None:
    for s in propose(6, system="surface", elements=["Cu"], options={"adsorbates": 0, "prototypes": ["elemental"]}):
        distance = find_bonds(s).distance.min()
        assert distance == pytest.approx(3.61 / 2**0.5, abs=1e-6)
        assert s.origin["lattice_constant"] == 3.61
        assert s.origin["lattice_source"] == "ase.data.reference_states"


def test_a_whole_icosahedron_of_copper_has_a_magic_number_of_atoms_and_twelve_corners() -> None:
    shapes = propose(
        20, system="cluster", elements=["Cu"], min_atoms=55, max_atoms=55, options={"kinds": {"shaped": 1}, "shapes": ["icosahedron"]}
    )
    assert shapes
    for s in shapes:
        n_bonds = np.bincount(find_bonds(s).i, minlength=55)
        assert sorted(Counter(n_bonds.tolist()).items()) == [(6, 12), (8, 30), (12, 13)]


def test_water_clusters_are_whole_molecules_in_contact() -> None:
    options = {"kinds": {"molecular": 1}, "molecules": ["H2O"]}
    for s in propose(6, system="cluster", min_atoms=30, max_atoms=60, options=options):
        assert s.origin["molecules"] == {"H2O": len(s) // 3}
        bonds = find_bonds(s)
        assert np.bincount(bonds.i, minlength=len(s)).tolist() == [2, 1, 1] * (len(s) // 3)


def test_every_molecule_on_offer_is_sane() -> None:
    assert {"H2O", "NH3", "CH4", "HF", "HCl", "SH2", "SiH4", "PH3", "CO2", "N2", "CH3OH", "SO2"} <= set(molecule_names())
    assert "CO" not in molecule_names()
    for name in molecule_names():
        assert find_chemistry_fault(from_ase(molecule(name), id=name, system="molecule")) is None


def test_every_prototype_reads_as_its_crystal() -> None:
    """Zincblende has four unlike neighbours, rocksalt six, cesium chloride eight; quartz and cristobalite four and two."""
    expected = {"zincblende": {4}, "rocksalt": {6}, "cesiumchloride": {8}, "quartz": {4, 2}, "cristobalite": {4, 2}, "graphite": {3}}
    for name, n_neighbours in expected.items():
        symbols = {"graphite": ["C"], "quartz": ["Si", "O"], "cristobalite": ["Si", "O"]}.get(name, ["Na", "Cl"])
        crystal = decorate(name, symbols, 1.0)
        assert crystal is not None
        bonds = find_bonds(from_ase(crystal.atoms, id=name, system="crystal"), 1.1)
        unlike = crystal.atoms.numbers[bonds.i] != crystal.atoms.numbers[bonds.j]
        assert set(np.bincount(bonds.i[unlike | (len(symbols) == 1)]).tolist()) == n_neighbours


def test_graphite_has_its_own_bonds_and_layers() -> None:
    crystal = decorate("graphite", ["C"], 1.0)
    assert crystal is not None
    assert find_bonds(from_ase(crystal.atoms, id="graphite", system="crystal")).distance == pytest.approx(1.42, abs=1e-6)
    assert crystal.atoms.cell.lengths() == pytest.approx([2.46, 2.46, 6.71], abs=0.01)
    assert "Trucano" in crystal.source


def test_prototypes_hold_all_their_sublattices() -> None:
    for name, prototype in PROTOTYPES.items():
        assert lattice_of_prototype(name).n_sublattices == len(prototype.sites)


def test_decorations_that_leave_atoms_unbonded_or_crammed_are_not_made() -> None:
    assert decorate("rocksalt", ["O", "F"], 1.0) is None
    assert decorate("cadmium-iodide", ["F", "S"], 0.95) is None
    assert decorate("zincblende", ["Si", "C"], 1.0) is not None


def test_only_elements_with_a_simple_reference_lattice_have_a_reference_crystal() -> None:
    silicon = reference_crystal("Si")
    assert silicon is not None
    assert (silicon.prototype, silicon.lattice_constant) == ("diamond", 5.43)
    assert reference_crystal("Cl") is None


def test_bare_carbons_get_hydrogens() -> None:
    ethane = Atoms("C2", positions=[[0, 0, 0], [1.5, 0, 0]])
    grown = saturate_carbons(ethane, ("C", "H"), 6, np.random.default_rng(0))
    assert grown.get_chemical_formula() == "C2H6"
    assert find_bare_carbons(grown) == []
    assert grown.info["carbons"] == {"hydrogens_added": 6, "replaced": 0, "removed": 0}


def test_carbons_far_from_everything_are_bare_and_get_hydrogens() -> None:
    lonely = Atoms("C2", positions=[[0, 0, 0], [6.0, 0, 0]])
    assert find_bare_carbons(lonely) == [0, 1]
    assert saturate_carbons(lonely, ("C", "H"), 8, np.random.default_rng(0)).get_chemical_formula() == "C2H8"
    carbide = Atoms("CFe", positions=[[0, 0, 0], [1.4 * covalent_radii[[6, 26]].sum(), 0, 0]])
    assert find_bare_carbons(carbide) == []


def test_bare_carbons_are_replaced_where_hydrogen_is_not_allowed() -> None:
    grown = saturate_carbons(Atoms("C2", positions=[[0, 0, 0], [1.5, 0, 0]]), ("C", "N"), 6, np.random.default_rng(0))
    assert grown.get_chemical_formula() == "N2"


def test_carbon_alone_with_open_ends_is_rejected() -> None:
    with pytest.raises(Rejected, match="bare_carbon"):
        saturate_carbons(Atoms("C2", positions=[[0, 0, 0], [1.5, 0, 0]]), ("C",), 6, np.random.default_rng(0))


def test_a_group_slides_until_the_first_pair_touches() -> None:
    moving, obstacles = np.array([[0.0, 0, 0], [0, 0, 5]]), np.array([[0.0, 0, 1], [0.6, 0, 0]])
    shift = slide_to_contact(moving, obstacles, np.array([[2.0, 1.0], [2.0, 1.0]]), np.array([0.0, 0, 1]))
    assert shift == pytest.approx(3.0)
    assert slide_to_contact(moving, obstacles + 9, np.full((2, 2), 1.0), np.array([0.0, 0, 1])) == -np.inf


def test_crowded_atoms_are_pushed_to_their_contact_distances() -> None:
    positions = np.random.default_rng(0).normal(size=(40, 3))
    kinds = np.arange(40) % 2
    contact = np.array([[1.0, 1.5], [1.5, 2.0]])
    apart = push_apart(positions, kinds, contact)
    distance = np.linalg.norm(apart[:, None] - apart[None], axis=-1) / contact[kinds][:, kinds]
    np.fill_diagonal(distance, np.inf)
    assert distance.min() >= 0.979


def test_oxygens_packed_at_random_stay_apart() -> None:
    """At the length of a stretched bond from a dozen others a teacher finds forces of thousands of eV/Å."""
    task = task_for(system="cluster", elements=["O"], min_atoms=30, max_atoms=60, options={"kinds": {"random": 1}})
    made = [PROPOSER.propose(task, np.random.default_rng(seed)).structures[0] for seed in range(6)]
    assert all(pdist(s.positions).min() > 1.9 for s in made)
    assert {propose_one(PROPOSER, task, attempt) for attempt in range(3)} == {"isolated_atom"}


def test_adsorbates_and_terminations_are_recorded() -> None:
    options = {"adsorbates": 1, "species": ["H2O", "CO", "O"], "terminated": 0, "prototypes": ["elemental"]}
    for s in propose(8, system="surface", elements=["Pt", "H", "C", "O"], options=options):
        assert all(a["species"] in ("H2O", "CO", "O") for a in s.origin.get("adsorbates", ()))
    terminated = propose(
        12, system="surface", elements=["Si", "H"], options={"terminated": 1, "adsorbates": 0, "prototypes": ["elemental"]}
    )
    assert terminated
    for s in terminated:
        assert s.origin["termination"]["n"] == s.symbols.count("H")


def adsorbates_of(s: Structure) -> Iterator[tuple[dict[str, Any], np.ndarray, int]]:
    """Every adsorbate of a slab: what its origin says, its atoms' indices, and the number of atoms of the bare slab."""
    recorded = s.origin.get("adsorbates", ())
    sizes = [len(geometry_of(a["species"])) for a in recorded]
    n_slab = len(s) - sum(sizes)
    for adsorbate, start, size in zip(recorded, np.cumsum([n_slab, *sizes]), sizes, strict=False):
        yield adsorbate, np.arange(start, start + size), n_slab


def test_adsorbates_lie_on_the_slab_at_their_height_and_not_on_one_another() -> None:
    n_seen = 0
    for s in propose(60, system="surface", min_atoms=50, max_atoms=120, options={"adsorbates": 1, "max_adsorbates": 6}):
        pairs = find_pairs(s, 5.0)
        for adsorbate, own, n_slab in adsorbates_of(s):
            n_seen += 1
            top = s.positions[:n_slab, 2].max()
            assert s.positions[own, 2].min() - top == pytest.approx(adsorbate["height"], abs=2e-3)
            mine = np.isin(pairs.i, own) & ~np.isin(pairs.j, own)
            others = mine & (pairs.j >= n_slab)
            spacing = pairs.distance[others] / (VAN_DER_WAALS[s.numbers[pairs.i[others]]] + VAN_DER_WAALS[s.numbers[pairs.j[others]]])
            assert spacing.min(initial=np.inf) >= 0.749
            radii = VAN_DER_WAALS if adsorbate["species"] in molecule_names() else COVALENT
            slab = mine & (pairs.j < n_slab)
            contacts = pairs.distance[slab] / (radii[s.numbers[pairs.i[slab]]] + radii[s.numbers[pairs.j[slab]]])
            assert contacts.min() == pytest.approx(adsorbate["contact_scale"], abs=1e-3)
    assert n_seen > 120


def test_carbon_monoxide_stands_on_atoms_of_the_slab_that_can_bind_it() -> None:
    options = {"adsorbates": 1, "species": ["CO"], "terminated": 0.5}
    hosts = Counter[str]()
    for s in propose(40, system="surface", min_atoms=50, max_atoms=120, options=options):
        bonds = find_bonds(s)
        for _, own, n_slab in adsorbates_of(s):
            carbon = own[s.numbers[own] == 6][0]
            others = np.flatnonzero((bonds.i == carbon) & ~np.isin(bonds.j, own))
            host = bonds.j[others[np.argmin(bonds.distance[others] / (COVALENT[6] + COVALENT[s.numbers[bonds.j[others]]]))]]
            assert host < n_slab
            hosts[s.symbols[host]] += 1
    assert hosts.total() > 40
    assert not hosts.keys() & {"H", "F", "Cl"}


def test_most_slabs_and_shaped_clusters_are_cut_from_known_compounds_at_their_measured_lattice() -> None:
    known: dict[str, set[float]] = {}  # lattice constants a by label, which a few compounds share
    for compound in find_compounds(DEFAULT_ELEMENTS):
        known.setdefault(compound.label, set()).add(round(float(np.linalg.norm(compound.structure.cell[0])), 4))
    slabs = propose(40, system="surface", max_atoms=120)
    assert sum(s.origin["prototype"] in known for s in slabs) > 0.65 * len(slabs)
    clusters = propose(40, system="cluster", options={"kinds": {"shaped": 1}})
    assert sum(s.origin.get("prototype") in known for s in clusters) > 0.5 * len(clusters)
    assert all(s.origin["lattice_constant"] in known[s.origin["prototype"]] for s in slabs if s.origin["prototype"] in known)


def test_slabs_of_molecular_crystals_leave_their_molecules_whole() -> None:
    """All pieces of a slab of nitrous oxide, cyanogen chloride or sulfur have as many atoms as the molecule."""
    sizes = {"N2O": 3, "CClN": 3, "S": 8}
    options = {"real": 1, "adsorbates": 0, "terminated": 0, "prototypes": ["real"]}
    slabs = [s for s in propose(60, system="surface", elements=["N", "O", "C", "Cl", "S"], options=options) if s.origin["bulk"] in sizes]
    assert {s.origin["bulk"] for s in slabs} == set(sizes)
    for s in slabs:
        bonds = find_bonds(s)
        pieces = connected_components(coo_array((np.ones(len(bonds.i)), (bonds.i, bonds.j)), shape=(len(s), len(s))), directed=False)[1]
        assert set(np.bincount(pieces)) == {sizes[s.origin["bulk"]]}


def test_dimers_run_from_the_repulsion_to_where_nothing_is_felt() -> None:
    dimers = propose(300, system="cluster", min_atoms=2, max_atoms=2, options={"kinds": {"dimer": 1}})
    assert len(dimers) == 300
    assert len({frozenset(s.symbols) for s in dimers}) == 45  # pairs of nine elements
    distances = np.array([pdist(s.positions)[0] for s in dimers])
    ratios = distances / np.array([covalent_radii[s.numbers].sum() for s in dimers])
    assert 0.65 <= ratios.min() < 0.72
    assert 5.5 < distances.max() <= 6.0
    assert np.mean(ratios < 1.0) > 0.15


def test_trimers_have_all_three_distances_beyond_the_nearest() -> None:
    for s in propose(100, system="cluster", min_atoms=3, max_atoms=3, options={"kinds": {"trimer": 1}}):
        assert s.origin["method"] == "trimer"
        assert np.allclose(s.origin["distances"], pdist(s.positions), atol=1e-4)
        radii = covalent_radii[s.numbers]
        assert np.all(pdist(s.positions) >= 0.65 * np.array([radii[0] + radii[1], radii[0] + radii[2], radii[1] + radii[2]]) - 1e-9)


def test_every_element_comes_once_as_an_isolated_atom() -> None:
    generator = ProposalGenerator(ClusterSurfaceProposer, 1)
    task = resolve_task(GenerateRequest(n=9, seed=5, system="cluster", min_atoms=1, max_atoms=1, options={"kinds": {"atom": 1}}), generator)
    made, keys = Made(), set[str]()
    for attempt in range(200):
        accept_outcome(propose_one(PROPOSER, task, attempt), task, made, keys)
    assert sorted(s.symbols[0] for s in made.structures) == sorted(DEFAULT_ELEMENTS)


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        ({"system": "surface", "elements": ["F"]}, "bulk crystal of F"),
        ({"system": "cluster", "options": {"kinds": {"dimer": 1}}}, "it has 2 atoms, asked for 20-200"),
        ({"system": "surface", "elements": ["Si", "C"], "options": {"species": ["H2O"]}}, "H2O needs H O"),
        ({"system": "surface", "elements": ["Cu"], "options": {"prototypes": ["quartz"]}}, "quartz"),
        ({"system": "cluster", "elements": ["C"]}, "no cluster of C"),
        ({"system": "cluster", "elements": ["Si"], "options": {"kinds": {"molecular": 1}}}, "no molecule"),
        ({"system": "cluster", "elements": ["C", "O"], "options": {"molecules": ["H2O"]}}, "H2O needs H"),
        ({"system": "cluster", "min_atoms": 20, "max_atoms": 20, "options": {"kinds": {"molecular": 1}, "molecules": ["H2O"]}}, "20-20"),
    ],
)
def test_impossible_tasks_are_refused_by_name(request_: dict[str, Any], named: str) -> None:
    with pytest.raises(Unsupported, match=named):
        task_for(**request_)


def test_the_elements_advised_for_surfaces_are_those_that_will_do() -> None:
    with pytest.raises(Unsupported) as problem:
        task_for(system="surface", elements=["F"])
    advised = problem.value.detail.rsplit(": ")[1].split()
    assert {"C", "Si", "P", "Cu"} <= set(advised)
    for element in ELEMENTS:
        if element in advised:
            task_for(system="surface", elements=[element])
        else:
            with pytest.raises(Unsupported):
                task_for(system="surface", elements=[element])


@pytest.mark.parametrize(
    ("system", "options", "named"),
    [
        ("cluster", {"molecules": ["CH3OHH"]}, "did you mean 'CH3OH'"),
        ("cluster", {"kinds": {"molecullar": 1}}, "did you mean 'molecular'"),
        ("cluster", {"kinds": {"random": 0}}, "above 0"),
        ("cluster", {"kinds": {"random": 1e-320, "shaped": 1e-320}}, "above 0"),
        ("cluster", {"kinds": {"random": 1e308, "shaped": 1e308}}, "1000"),
        ("surface", {"prototypes": ["zincblend"]}, "did you mean 'zincblende'"),
        ("surface", {"vacuum": 5}, "vacuum"),
        ("surface", {"thickness": [9, 5]}, "must not exceed"),
    ],
)
def test_wrong_options_are_refused_with_the_nearest_name(system: str, options: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        task_for(system=system, options=options)
