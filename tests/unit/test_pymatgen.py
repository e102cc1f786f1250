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

from distillery.errors import InvalidRequest, Unsupported
from distillery.generators.generator import Task, resolve_task
from distillery.generators.proposals import Rejected, propose_one
from distillery.generators.supercell import elongation, expand_to
from distillery.schema.generate import GenerateRequest
from distillery.structures.arrow import to_arrow
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure
from services.pymatgen.generator import CrystalProposer
from services.pymatgen.prototypes import read_library, select_prototypes
from services.pymatgen.symmetric import draw_crystal
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
    return propose(80, min_atoms=20, max_atoms=60)


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
    structures = propose(100, max_atoms=60, perturb={"rattle": 0.05, "strain": 0.03}, options={"prototype_share": 1})[0]
    n_carbon, n_atoms = sum(s.symbols.count("C") for s in structures), sum(map(len, structures))
    assert n_carbon > 0.03 * n_atoms


def test_both_methods_and_many_compositions_appear(batch: tuple[list[Structure], Counter[str]]) -> None:
    structures = batch[0]
    methods = Counter(s.origin["method"] for s in structures)
    assert min(methods["prototype"], methods["pyxtal"]) > 0.3 * len(structures)
    assert len({s.origin["formula"] for s in structures}) > 0.8 * len(structures)
    assert len({s.origin["space_group"] for s in structures}) > 30


def test_densities_are_those_of_condensed_matter(batch: tuple[list[Structure], Counter[str]]) -> None:
    """Atoms/Å³: white phosphorus has 0.036, diamond 0.176 (0.186 at 0.95 of its volume)."""
    densities = np.array([len(s) / s.volume for s in batch[0]])
    assert densities.max() < 0.187
    assert 0.04 < np.median(densities) < 0.12
    assert densities.min() > 0.015


def test_origin_says_how_a_crystal_was_made(batch: tuple[list[Structure], Counter[str]]) -> None:
    for structure in batch[0]:
        own = {"prototype": {"prototype", "name"}, "pyxtal": {"drawn_space_group", "wyckoff"}}[structure.origin["method"]]
        assert set(structure.origin) == {"method", "space_group", "formula", "volume_scale", "supercell"} | own
        assert 1 <= structure.origin["space_group"] <= 230


def test_prototypes_go_by_mineral_and_strukturbericht_names() -> None:
    by_label, by_mineral, by_type = (
        propose(1, elements=["Si"], options={"prototypes": [name], "prototype_share": 1})[0][0] for name in ("A_cF8_227_a", "diamond", "A4")
    )
    assert by_label.origin == by_mineral.origin == by_type.origin
    assert by_label.origin["space_group"] == 227


def test_space_groups_and_numbers_of_elements_are_honoured() -> None:
    options = {"prototype_share": 0, "space_groups": [62, 194], "min_elements": 2, "max_elements": 2}
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
        ({"options": {"prototypes": ["A4"], "min_elements": 2, "prototype_share": 1}}, Unsupported, "no prototype"),
        ({"elements": ["Si"], "options": {"min_elements": 2}}, Unsupported, "min_elements is 2"),
        ({"min_atoms": 1, "max_atoms": 2, "options": {"min_elements": 3}}, Unsupported, "at most 2 atoms"),
        ({"options": {"min_elements": 3, "max_elements": 2}}, InvalidRequest, "must not exceed"),
        ({"options": {"space_groups": [231]}}, InvalidRequest, "space_groups"),
        ({"options": {"volume_scale": [1.2, 1.0]}}, InvalidRequest, "volume_scale"),
        ({"options": {"prototype_shares": 1}}, InvalidRequest, "did you mean 'prototype_share'"),
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
