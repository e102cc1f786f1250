"""The crystal source: volumes against measured ones, symmetry, supercells, shares of elements, options, determinism."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import spglib
from pymatgen.core.composition import Composition
from pyxtal.lattice import Lattice
from pyxtal.symmetry import Group
from pyxtal.wyckoff_site import atom_site

from distillery.errors import InvalidRequest, Unsupported
from distillery.generators.compounds import find_compounds, read_compounds
from distillery.generators.generator import Task, resolve_task
from distillery.generators.proposals import Rejected, propose_one
from distillery.generators.supercell import elongation, expand_to
from distillery.schema.generate import GenerateRequest
from distillery.structures.arrow import to_arrow
from distillery.structures.checks import find_input_fault
from distillery.structures.geometry import minimum_distance
from distillery.structures.identity import structure_hash
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure
from services.pymatgen.compile_compounds import TARGET, compile_table
from services.pymatgen.generator import CrystalProposer
from services.pymatgen.placement import PlacedSite, is_free, make_tolerances, project
from services.pymatgen.plausibility import is_plausible
from services.pymatgen.prototypes import read_library, select_prototypes
from services.pymatgen.symmetric import TOLERANCE, draw_crystal
from services.pymatgen.symmetry import find_symmetry
from services.pymatgen.volume import estimate_volume, is_nonmetal, known_elements, resize, settle, smallest_volume

NUMBER_OF_AFLOW_PROTOTYPES = 288


def make_task(**request: Any) -> Task:
    return resolve_task(GenerateRequest(**{"n": 1, "seed": 11, **request}), CrystalProposer())  # type: ignore[arg-type]


def propose(n_attempts: int, **request: Any) -> tuple[list[Structure], Counter[str]]:
    """The structures of so many attempts, and the reasons of those that gave none."""
    proposer, task = CrystalProposer(), make_task(**request)
    outcomes = [propose_one(proposer, task, attempt) for attempt in range(n_attempts)]
    structures = [o.structures[0] for o in outcomes if not isinstance(o, str)]
    return structures, Counter(o for o in outcomes if isinstance(o, str))


def decorate(label: str, *elements: str) -> Structure:
    return select_prototypes((label,), (1, 5), (1, 1000))[0].decorate(elements)


@pytest.fixture(scope="module")
def batch() -> tuple[list[Structure], Counter[str]]:
    """Of all kinds, evenly."""
    return propose(90, min_atoms=20, max_atoms=60, options={"kinds": {"real": 1, "decorated": 1, "symmetric": 1}})


def entropy(structures: list[Structure]) -> float:
    """Shannon entropy of the elements, weighted by atoms, bits."""
    shares = np.unique(np.concatenate([s.numbers for s in structures]), return_counts=True)[1] / sum(map(len, structures))
    return float(-(shares * np.log2(shares)).sum())


def test_the_whole_library_is_read() -> None:
    library = read_library()
    assert len(library) == NUMBER_OF_AFLOW_PROTOTYPES
    assert all(np.linalg.det(prototype.cell) > 0 for prototype in library)
    assert {prototype.n_species for prototype in library} == {1, 2, 3, 4, 5}


@pytest.mark.parametrize(
    ("label", "elements", "measured"),
    [
        ("A_cF8_227_a", ("C",), 5.67),
        ("A_cF8_227_a", ("Si",), 20.0),
        ("AB_cF8_216_c_a", ("Si", "C"), 10.4),
        ("AB_cF8_225_a_b", ("Na", "Cl"), 22.4),
        ("AB_cF8_225_a_b", ("Li", "F"), 8.2),
        ("AB_cF8_225_a_b", ("Mg", "O"), 9.4),
        ("A2B_hP9_152_c_a", ("O", "Si"), 12.6),
        ("A_cF4_225_a", ("Al",), 16.6),
        ("A_oC8_64_f", ("P",), 19.0),
    ],
)
def test_volumes_are_near_the_measured_ones(label: str, elements: tuple[str, ...], measured: float) -> None:
    """Å³ an atom, from the structures' lattice constants at room temperature."""
    crystal = decorate(label, *elements)
    assert estimate_volume(crystal) / len(crystal) == pytest.approx(measured, rel=0.35)


def test_volume_does_not_depend_on_the_starting_volume() -> None:
    crystal = decorate("A2B_hP9_152_c_a", "O", "Si")
    assert estimate_volume(resize(crystal, 10 * crystal.volume)) == pytest.approx(estimate_volume(crystal), rel=1e-4)


def test_volume_of_a_supercell_is_that_of_its_cells() -> None:
    crystal = resize(decorate("AB_cF8_225_a_b", "Mg", "O"), 40.0)
    larger = expand_to(crystal, 16, 16, np.random.default_rng(0))
    assert estimate_volume(larger) == pytest.approx(8 * estimate_volume(crystal), rel=1e-4)


def test_no_element_is_denser_than_its_limit() -> None:
    for element in known_elements():
        crystal = decorate("A_cF4_225_a", element)
        assert estimate_volume(crystal) >= smallest_volume(crystal) >= 5.67


def test_non_metals_are_told_from_metals() -> None:
    assert [e for e in ("H", "C", "Si", "P", "S", "Cl", "Na", "Ti", "Pb", "Bi") if is_nonmetal(e)] == ["H", "C", "Si", "P", "S", "Cl"]


def test_two_atoms_in_one_place_are_crowded() -> None:
    positions = np.array([[0.0, 0, 0], [0.3, 0, 0], [3.0, 3.0, 3.0]])
    crystal = Structure("", np.array([6, 6, 6], dtype=np.uint8), positions, 6 * np.eye(3), (True, True, True), "crystal")
    with pytest.raises(Rejected, match=r"crowded|sparse"):
        settle(crystal, 1.0)


def test_spglib_finds_the_symmetry_of_a_random_crystal_in_its_supercell() -> None:
    crystal = find_symmetry(draw_crystal(225, ("Si", "C"), 24, np.random.default_rng(3)))
    larger = expand_to(crystal, 50, 200, np.random.default_rng(0))
    fractional = np.linalg.solve(larger.cell.T, larger.positions.T).T
    assert crystal.origin["drawn_space_group"] == 225
    assert (
        spglib.get_spacegroup_type(spglib.get_symmetry_dataset((larger.cell, fractional, larger.numbers), 0.01).hall_number).number
        == (crystal.origin["space_group"])
    )


def test_random_crystals_have_at_least_the_symmetry_that_was_drawn() -> None:
    """Every drawn group gives crystals of that group's number of operations or a multiple of it."""
    for number in (2, 14, 62, 136, 166, 194, 205, 216, 227):
        crystal = draw_crystal(number, ("Si", "O"), 24, np.random.default_rng(number))
        fractional = np.linalg.solve(crystal.cell.T, crystal.positions.T).T
        found = spglib.get_symmetry_dataset((crystal.cell, fractional, crystal.numbers), 0.01)
        wanted = spglib.get_symmetry_from_database(next(h for h in range(1, 531) if spglib.get_spacegroup_type(h).number == number))
        assert len(found.rotations) % len(wanted["rotations"]) == 0


@pytest.mark.parametrize(("low", "high"), [(50, 500), (50, 52), (120, 130), (2, 2), (994, 996)])
def test_supercells_fit_the_range_and_are_nearly_cubic(low: int, high: int) -> None:
    crystal = settle(decorate("A_hP4_194_f", "C"), 1.0) if low > 10 else settle(decorate("A_cF8_227_a", "C"), 1.0)
    for seed in range(5):
        larger = expand_to(crystal, low, high, np.random.default_rng(seed))
        matrix = np.array(larger.origin["supercell"])
        assert low <= len(larger) <= high
        assert np.allclose(matrix @ crystal.cell, larger.cell)
        assert len(larger) == len(crystal) * round(np.linalg.det(matrix))
        assert np.linalg.det(larger.cell) > 0
        assert elongation(larger.cell) < 2.5
        assert structure_hash(larger) == structure_hash(crystal)


def test_a_size_that_no_supercell_has_is_rejected() -> None:
    with pytest.raises(Rejected, match="no_supercell"):
        expand_to(settle(decorate("A_hP4_194_f", "C"), 1.0), 5, 7, np.random.default_rng(0))


def test_most_proposals_are_accepted(batch: tuple[list[Structure], Counter[str]]) -> None:
    structures, rejected = batch
    assert len(structures) > 0.9 * (len(structures) + rejected.total()), rejected


def test_carbon_survives_rattle_and_strain() -> None:
    """It is what the checks refuse most; with its element set drawn anew after each refusal, little of it would be left."""
    structures = propose(100, max_atoms=60, perturb={"rattle": 0.05, "strain": 0.03}, options={"kinds": {"decorated": 1}})[0]
    n_carbon, n_atoms = sum(s.symbols.count("C") for s in structures), sum(map(len, structures))
    assert n_carbon > 0.03 * n_atoms


def test_all_kinds_and_many_compositions_appear(batch: tuple[list[Structure], Counter[str]]) -> None:
    structures = batch[0]
    methods = Counter(s.origin["method"] for s in structures)
    assert min(methods["real"], methods["decorated"], methods["symmetric"]) > 0.2 * len(structures)
    assert len({s.origin["formula"] for s in structures}) > 0.5 * len(structures)
    assert len({s.origin["space_group"] for s in structures}) > 30


def test_most_crystals_are_real_compounds_by_default() -> None:
    methods = Counter(s.origin["method"] for s in propose(60, max_atoms=60)[0])
    assert methods["real"] > 0.6 * methods.total()
    assert methods["symmetric"] < 0.2 * methods.total()


def test_densities_are_those_of_condensed_matter(batch: tuple[list[Structure], Counter[str]]) -> None:
    """Atoms/Å³: white phosphorus has 0.036, diamond 0.176 (0.186 at 0.95 of its volume)."""
    densities = np.array([len(s) / s.volume for s in batch[0]])
    assert densities.max() < 0.187
    assert 0.04 < np.median(densities) < 0.12
    assert densities.min() > 0.015


def test_origin_says_how_a_crystal_was_made(batch: tuple[list[Structure], Counter[str]]) -> None:
    own = {
        "real": {"compound", "prototype", "name", "reference"},
        "decorated": {"prototype", "name", "volume_scale"},
        "symmetric": {"drawn_space_group", "wyckoff", "volume_scale"},
    }
    for structure in batch[0]:
        assert set(structure.origin) == {"method", "space_group", "formula", "supercell"} | own[structure.origin["method"]]
        assert 1 <= structure.origin["space_group"] <= 230


@pytest.mark.parametrize("kind", ["real", "decorated"])
def test_prototypes_go_by_mineral_and_strukturbericht_names(kind: str) -> None:
    options = {"kinds": {kind: 1}, "charge_balanced": False}
    by_label, by_mineral, by_type = (
        propose(1, elements=["C"], options={**options, "prototypes": [name]})[0][0] for name in ("A_cF8_227_a", "diamond", "A4")
    )
    assert by_label.origin == by_mineral.origin == by_type.origin
    assert (by_label.origin["method"], by_label.origin["space_group"]) == (kind, 227)


def test_real_compounds_keep_their_measured_lattice() -> None:
    quartz = propose(1, options={"kinds": {"real": 1}, "prototypes": ["quartz (alpha)"]})[0][0]
    assert quartz.volume / (len(quartz) / 3) == pytest.approx(37.7, abs=0.1)  # Å³ a formula unit: Hazen et al. 1989
    assert quartz.origin["compound"] == "SiO2"
    assert "Hazen" in quartz.origin["reference"]


def test_real_compounds_come_again_and_again_each_time_moved_otherwise() -> None:
    options = {"kinds": {"real": 1}, "prototypes": ["diamond"]}
    proposer, task = CrystalProposer(), make_task(max_atoms=60, perturb={"rattle": 0.05, "strain": 0.03}, options=options)
    proposals = [propose_one(proposer, task, attempt) for attempt in range(8)]
    assert {p.key for p in proposals if not isinstance(p, str)} == {None}
    assert len({structure_hash(p.structures[0]) for p in proposals if not isinstance(p, str)}) == 8
    still = propose_one(proposer, make_task(options=options), 0)
    assert not isinstance(still, str)
    assert still.key is not None


def test_phases_of_high_pressure_come_only_where_asked_for() -> None:
    options = {"kinds": {"real": 1}, "prototypes": ["gamma nitrogen"]}
    with pytest.raises(Unsupported, match="no known compound of N"):
        make_task(elements=["N"], options=options)
    made = propose(1, elements=["N"], options={**options, "high_pressure": True})[0][0]
    assert made.origin["high_pressure"] == "above 0.3 GPa"


def test_without_a_known_compound_the_other_kinds_step_in() -> None:
    assert {s.origin["method"] for s in propose(6, elements=["F"], max_atoms=60)[0]} == {"symmetric"}


def test_decorated_prototypes_are_balanced_in_charge() -> None:
    for structure in propose(40, max_atoms=60, options={"kinds": {"decorated": 1}})[0]:
        composition = Composition(structure.origin["formula"])
        assert len(composition) > 1
        assert is_plausible(tuple(sorted((str(e), int(n)) for e, n in composition.items())))


@pytest.mark.parametrize(
    ("formula", "plausible"),
    [("SiO2", True), ("NaCl", True), ("Si3N4", True), ("CCl4", True), ("SiO3", False), ("Cl2O3F", False), ("O2", False), ("Na", True)],
)
def test_plausible_compositions_are_told_from_others(formula: str, plausible: bool) -> None:
    assert is_plausible(tuple(sorted((str(e), int(n)) for e, n in Composition(formula).items()))) is plausible


def test_defects_are_made_and_told() -> None:
    options = {"kinds": {"real": 1}, "prototypes": ["silicon"], "defects": {"vacancy": 1, "substitution": 1}}
    for structure in propose(5, elements=["Si", "C"], min_atoms=50, max_atoms=70, options=options)[0]:
        n_sites = len(read_silicon()) * round(np.linalg.det(np.array(structure.origin["supercell"])))
        assert structure.origin["defects"] == [
            {"kind": "vacancy", "element": "Si"},
            {"kind": "substitution", "element": "C", "replaces": "Si"},
        ]
        assert structure.symbols.count("Si") == n_sites - 2
        assert structure.symbols.count("C") == 1


def test_an_interstitial_sits_where_there_is_room() -> None:
    options = {"kinds": {"real": 1}, "prototypes": ["silicon"], "defects": {"interstitial": 1}}
    structure = propose(1, elements=["Si", "H"], min_atoms=50, max_atoms=70, options=options)[0][0]
    assert structure.origin["defects"][0]["kind"] == "interstitial"
    assert minimum_distance(structure) > 0.8 * 1.42  # sums of covalent radii: Si-Si 2.22 Å, Si-H 1.42 Å
    assert len(structure) % 2 == 1


def read_silicon() -> Structure:
    """The two atoms of its primitive cell."""
    return find_symmetry(next(c for c in read_compounds() if c.label == "silicon").structure)


def test_the_table_of_compounds_is_what_the_script_makes() -> None:
    assert TARGET.read_text("utf-8") == compile_table()


def test_compounds_of_normal_pressure_have_room_for_their_atoms() -> None:
    """Diamond has 5.6 Å³ an atom, and no bond is shorter than that of N2, 0.77 sums of covalent radii, or of H-F."""
    for compound in find_compounds(DEFAULT_ELEMENTS):
        assert compound.structure.volume / len(compound.structure) > 5.5, compound.label
        assert find_input_fault(compound.structure) is None, compound.label
    assert len({c.formula for c in find_compounds(DEFAULT_ELEMENTS)}) >= 25


def test_space_groups_and_numbers_of_elements_are_honoured() -> None:
    options = {"kinds": {"symmetric": 1}, "space_groups": [62, 194], "min_elements": 2, "max_elements": 2}
    structures = propose(10, max_atoms=60, options=options)[0]
    assert {s.origin["drawn_space_group"] for s in structures} == {62, 194}
    assert {len(set(s.symbols)) for s in structures} == {2}


def test_element_weights_shift_the_shares() -> None:
    structures = propose(30, max_atoms=60, options={"element_weights": {"Si": 50.0}})[0]
    assert sum("Si" in s.symbols for s in structures) > 0.8 * len(structures)


@pytest.mark.parametrize(
    ("request_", "problem", "named"),
    [
        ({"options": {"prototypes": ["A_cF8_227_b"]}}, InvalidRequest, "did you mean 'A_cF8_227_a'"),
        ({"options": {"prototypes": ["A4"], "min_elements": 2, "kinds": {"decorated": 1}}}, Unsupported, "no prototype"),
        ({"elements": ["F"], "options": {"kinds": {"real": 1}}}, Unsupported, "no known compound of F"),
        ({"elements": ["F"], "options": {"kinds": {"decorated": 1}}}, Unsupported, "charge_balanced: false"),
        ({"options": {"kinds": {"real": 0}}}, InvalidRequest, "at least one share"),
        ({"elements": ["Si"], "options": {"min_elements": 2}}, Unsupported, "min_elements is 2"),
        ({"min_atoms": 1, "max_atoms": 2, "options": {"min_elements": 3}}, Unsupported, "at most 2 atoms"),
        ({"options": {"min_elements": 3, "max_elements": 2}}, InvalidRequest, "must not exceed"),
        ({"options": {"space_groups": [231]}}, InvalidRequest, "space_groups"),
        ({"options": {"volume_scale": [1.2, 1.0]}}, InvalidRequest, "volume_scale"),
        ({"options": {"kind": {}}}, InvalidRequest, "did you mean 'kinds'"),
        ({"elements": ["Si", "C"], "options": {"element_weights": {"O": 2}}}, InvalidRequest, "O not among"),
        ({"options": {"element_weights": {"C": 1e308, "N": 1e308}}}, InvalidRequest, "element_weights.C: .*1000"),
        ({"options": {"element_weights": {"C": 1e-320}}}, InvalidRequest, "element_weights.C: "),
        ({"elements": ["He"]}, Unsupported, "He"),
    ],
)
def test_what_cannot_be_made_is_refused_by_name(request_: dict[str, Any], problem: type[Exception], named: str) -> None:
    with pytest.raises(problem, match=named):
        make_task(**request_)


def digest(n_attempts: int) -> str:
    """sha256 of the Arrow bytes of the accepted attempts."""
    return hashlib.sha256(to_arrow(propose(n_attempts, max_atoms=80)[0], {})).hexdigest()


def digest_elsewhere(hash_seed: str) -> str:
    """`digest(12)` in a process of its own."""
    code = "from tests.unit.test_pymatgen import digest; print(digest(12))"
    printed = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert printed.stderr == ""
    return printed.stdout


def test_other_processes_and_hash_seeds_give_the_same_bytes() -> None:
    assert digest_elsewhere("1") == digest_elsewhere("4321")


def test_the_order_of_proposals_does_not_matter() -> None:
    proposer, task = CrystalProposer(), make_task(max_atoms=60)
    forwards = [propose_one(proposer, task, attempt) for attempt in range(6)]
    backwards = [propose_one(proposer, task, attempt) for attempt in reversed(range(6))][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        assert type(a) is type(b)
        if not isinstance(a, str) and not isinstance(b, str):
            assert np.array_equal(a.structures[0].positions, b.structures[0].positions)


@pytest.mark.parametrize("number", [2, 14, 62, 88, 140, 166, 194, 205, 225, 227])
def test_points_are_projected_onto_sites_as_pyxtal_does_to_the_bit(number: int) -> None:
    rng, group = np.random.default_rng(number), Group(number)
    for _ in range(3):
        cell = Lattice(group.lattice_type, 200.0, random_state=rng).matrix
        for wyckoff in group:
            point = rng.random(3)
            assert project(point, wyckoff, cell).tobytes() == wyckoff.project(point.copy(), cell, [1, 1, 1]).tobytes()


def test_a_site_is_free_or_not_as_pyxtal_finds() -> None:
    rng, group, tolerances, found = np.random.default_rng(0), Group(62), make_tolerances(TOLERANCE), []
    for _ in range(40):
        cell = Lattice("orthorhombic", 250.0, random_state=rng).matrix
        drawn = [(wyckoff, wyckoff.project(rng.random(3), cell, [1, 1, 1])) for wyckoff in (group["8d"], group["4c"])]
        theirs = [atom_site(wyckoff, point, "Si") for wyckoff, point in drawn]
        ours = [PlacedSite(site.wp, site.specie, site.coords.copy()) for site in theirs]
        found.append(is_free(ours[0], ours[1:], cell, tolerances))
        assert found[-1] == theirs[0].check_with_ws2(theirs[1], cell, tolerances.get_tol("Si", "Si"))
        assert all(own.coords.tobytes() == site.coords.tobytes() for own, site in zip(ours, theirs, strict=True))
    assert {True, False} == set(found)
