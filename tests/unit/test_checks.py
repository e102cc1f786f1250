"""Checks refuse what no teacher should see, each with its reason."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.data import covalent_radii

from distillery.generators.perturb import perturb_structure
from distillery.schema.generate import Perturb
from distillery.structures.checks import Fault, find_chemistry_fault, find_fault, find_input_fault, find_size_fault
from distillery.structures.geometry import find_bonds, minimum_distance
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure, System, from_ase
from tests.structures import copper_slab, methane, one_atom, silicon, water


def with_positions(structure: Structure, positions: np.ndarray) -> Structure:
    return replace(structure, positions=positions)


def input_reason(structure: Structure, elements: tuple[str, ...] | None = None) -> str | None:
    fault = find_input_fault(structure, elements)
    return fault.reason if fault else None


@pytest.mark.parametrize("structure", [water(), methane(), silicon(), copper_slab(), one_atom()], ids=lambda s: s.id)
def test_sound_structures_pass(structure: Structure) -> None:
    assert find_input_fault(structure) is None
    assert find_chemistry_fault(structure) is None


def test_unsound_structures_are_refused_with_their_reason() -> None:
    nan = water().positions.copy()
    nan[1, 2] = np.nan
    flat = silicon().cell.copy()
    flat[2] = flat[1]
    assert input_reason(replace(water(), numbers=np.zeros(0, np.uint8), positions=np.zeros((0, 3)))) == "empty"
    assert input_reason(with_positions(water(), nan)) == "not_finite"
    assert input_reason(with_positions(water(), water().positions * 1e5)) == "too_large"
    assert input_reason(replace(silicon(), cell=silicon().cell * 1e12)) == "too_large"
    assert input_reason(replace(water(), numbers=np.array([0, 1, 1], np.uint8))) == "unknown_element"
    assert input_reason(replace(water(), numbers=np.array([200, 1, 1], np.uint8))) == "unknown_element"
    assert input_reason(copper_slab(), DEFAULT_ELEMENTS) == "unknown_element"
    assert input_reason(replace(silicon(), pbc=(True, True, False))) == "partial_periodicity"
    assert input_reason(replace(silicon(), system="cluster")) == "partial_periodicity"
    assert input_reason(replace(water(), cell=np.eye(3) * 9)) == "bad_cell"
    assert input_reason(replace(silicon(), cell=flat)) == "bad_cell"
    assert input_reason(replace(silicon(), cell=silicon().cell * 0.5)) == "too_dense"
    assert input_reason(with_positions(water(), water().positions * 0.5)) == "atoms_too_close"


def test_images_are_seen() -> None:
    near_the_face = replace(silicon(), positions=silicon().positions.copy())
    near_the_face.positions[1] = near_the_face.positions[0] + np.array([0.0, 0.0, 5.43 - 0.3])
    assert minimum_distance(near_the_face) == pytest.approx(0.3)
    assert input_reason(near_the_face) == "atoms_too_close"


def bare(name: str) -> Structure:
    """A molecule of ASE's g2 set without its hydrogens."""
    atoms = molecule(name)
    return from_ase(atoms[[a.index for a in atoms if a.symbol != "H"]], id="x", system="molecule")


@pytest.mark.parametrize("name", ["C6H6", "CH3CH2OH", "C2H4", "C5H5N"])
def test_molecules_without_their_hydrogens_are_refused(name: str) -> None:
    fault = find_chemistry_fault(bare(name))
    assert fault is not None
    assert fault.reason == "bare_carbon"
    assert find_chemistry_fault(from_ase(molecule(name), id="x", system="molecule")) is None


def carbons(positions: list[list[float]], **more: Any) -> Structure:
    return Structure("x", np.full(len(positions), 6, np.uint8), np.array(positions, np.float64), **more)


@pytest.mark.parametrize(
    "structure",
    [
        pytest.param(carbons([[0, 0, 0], [4, 0, 0], [0, 4, 0], [0, 0, 4]], system="cluster"), id="four methanes without hydrogens"),
        pytest.param(carbons([[0, 0, 0]], system="molecule"), id="a methane without hydrogens"),
        pytest.param(carbons([[0, 0, 0]], system="crystal", cell=4.0 * np.eye(3), pbc=(True,) * 3), id="carbons far apart in a crystal"),
    ],
)
def test_a_carbon_without_any_neighbour_is_refused(structure: Structure) -> None:
    fault = find_chemistry_fault(structure)
    assert fault is not None
    assert (fault.reason, "no neighbour" in fault.detail) == ("bare_carbon", True)


def test_a_carbon_whose_neighbours_are_too_far_for_a_bond_is_fine_as_in_carbides() -> None:
    radii = covalent_radii[[6, 26]].sum()
    pair = Structure("x", np.array([6, 26], np.uint8), np.array([[0.0, 0, 0], [1.4 * radii, 0, 0]]), system="cluster")
    assert find_chemistry_fault(pair) is None


@pytest.mark.parametrize("name", ["CO2", "C2H2", "HCN", "CH3CN"])
def test_carbon_with_two_neighbours_in_line_is_fine(name: str) -> None:
    assert find_chemistry_fault(from_ase(molecule(name), id="x", system="molecule")) is None


def test_pieces_and_thin_vacuum_are_refused() -> None:
    far = water().positions + np.array([20.0, 0, 0])
    two = replace(water(), numbers=np.tile(water().numbers, 2), positions=np.concatenate([water().positions, far]))
    fault = find_chemistry_fault(two)
    assert fault is not None
    assert fault.reason == "fragments"
    thin = copper_slab().cell.copy()
    thin[2, 2] -= 5
    fault = find_chemistry_fault(replace(copper_slab(), cell=thin))
    assert fault is not None
    assert fault.reason == "thin_vacuum"


def test_size_is_checked() -> None:
    assert find_size_fault(water(), 3, 3) is None
    assert find_size_fault(water(), 4, 9) is not None


def test_bonds_of_water_and_methane() -> None:
    assert len(find_bonds(water()).i) == 4
    assert len(find_bonds(methane()).i) == 8


def test_perturbation_strains_cells_and_keeps_the_vacuum() -> None:
    rng = np.random.default_rng(1)
    crystal = perturb_structure(silicon(), Perturb(rattle=0.05, strain=0.04, share=1), rng)
    slab = perturb_structure(copper_slab(), Perturb(rattle=0, strain=0.04, share=1), rng)
    molecule = perturb_structure(water(), Perturb(rattle=0.05, strain=0.04, share=1), rng)
    assert not np.allclose(crystal.cell, silicon().cell)
    assert np.allclose(slab.cell[2], copper_slab().cell[2])
    assert not np.allclose(slab.cell[0], copper_slab().cell[0])
    assert not molecule.cell.any()
    assert crystal.origin["perturb"].keys() == {"rattle", "strain"}
    assert molecule.origin["perturb"] == {"rattle": 0.05}


def test_share_of_the_perturbed_is_met() -> None:
    rng = np.random.default_rng(2)
    perturb = Perturb(rattle=0.05, share=0.25, strain=0)
    moved = sum("perturb" in perturb_structure(water(), perturb, rng).origin for _ in range(400))
    assert 70 <= moved <= 130


def grid(spacing: float) -> Structure:
    """Argon on a simple cubic lattice: one atom per spacing³."""
    return Structure("grid", np.array([18], np.uint8), np.zeros((1, 3)), spacing * np.eye(3), (True, True, True), "crystal")


@pytest.mark.parametrize(("density", "reason"), [(0.249, None), (0.251, "too_dense")])
def test_a_cell_is_too_dense_over_a_quarter_atom_per_cubic_angstrom(density: float, reason: str | None) -> None:
    """Hydrogen, whose atoms may be that close."""
    hydrogen = replace(grid(density ** (-1 / 3)), numbers=np.array([1], np.uint8))
    assert input_reason(hydrogen) == reason


@pytest.mark.parametrize(("number", "reason"), [(0, "unknown_element"), (1, None), (118, None), (119, "unknown_element")])
def test_elements_go_from_hydrogen_to_oganesson(number: int, reason: str | None) -> None:
    structure = Structure("one", np.array([number], np.uint8), np.zeros((1, 3)), system="cluster")
    assert input_reason(structure) == reason


def test_foreign_elements_are_named_with_those_that_are_known() -> None:
    assert find_input_fault(water(), ("C", "O")).detail == "H not among C O"
    beyond = find_input_fault(replace(one_atom(), numbers=np.array([200], np.uint8)))
    assert beyond.detail == "atomic numbers must lie in 1..118, got [200]"


@pytest.mark.parametrize(
    ("pbc", "system", "detail"),
    [
        ((True, False, True), "crystal", "pbc must be all or none, got (True, False, True)"),
        ((True, True, True), "cluster", "a cluster with pbc (True, True, True)"),
        ((False, False, False), "crystal", "a crystal with pbc (False, False, False)"),
    ],
)
def test_periodicity_is_that_of_the_system(pbc: tuple[bool, bool, bool], system: System, detail: str) -> None:
    fault = find_input_fault(replace(silicon(), pbc=pbc, system=system))
    assert (fault.reason, fault.detail) == ("partial_periodicity", detail)


@pytest.mark.parametrize(("distance", "is_close"), [(0.59, True), (0.61, False)])
def test_no_two_atoms_are_closer_than_06_angstrom(distance: float, is_close: bool) -> None:
    """Hydrogen's covalent radius is so small that the ratio alone would allow less."""
    pair = Structure("pair", np.array([1, 1], np.uint8), np.array([[0, 0, 0], [0, 0, distance]]), system="cluster")
    fault = find_input_fault(pair)
    assert (fault is not None) is is_close
    assert fault is None or fault.detail == f"H-H {distance:.3f} Å, {distance / 0.62:.2f} of their covalent radii"


@pytest.mark.parametrize(("gap", "is_thin"), [(15.0, False), (14.99, True)])
def test_a_slab_has_15_angstrom_of_vacuum(gap: float, is_thin: bool) -> None:
    slab = copper_slab()
    depth = np.ptp(slab.positions[:, 2])
    for shift in (0.0, 0.5 * (depth + gap)):  # also where the slab lies across the cell's end
        cell = slab.cell.copy()
        cell[2] = [0, 0, depth + gap]
        positions = slab.positions + np.array([0, 0, shift])
        fault = find_chemistry_fault(replace(slab, cell=cell, positions=positions))
        assert (fault.reason if fault else None) == ("thin_vacuum" if is_thin else None)
    assert not is_thin or fault.detail == "15.0 Å of vacuum along c, at least 15.0"


@pytest.mark.parametrize(("n", "wanted"), [(3, None), (5, None), (2, "3 atoms, wanted 1-2"), (4, "3 atoms, wanted 4-9")])
def test_the_number_of_atoms_lies_within_what_was_asked_for(n: int, wanted: str | None) -> None:
    fault = find_size_fault(water(), *{3: (3, 3), 5: (1, 5), 2: (1, 2), 4: (4, 9)}[n])
    assert fault == (None if wanted is None else Fault("size", wanted))
    assert find_fault(water(), None, {3: (3, 3), 5: (1, 5), 2: (1, 2), 4: (4, 9)}[n]) == fault


@pytest.mark.parametrize(("n", "reason"), [(3, None), (4, "bare_carbon")])
def test_only_up_to_three_atoms_of_a_loose_cluster_may_lack_hydrogens(n: int, reason: str | None) -> None:
    carbons = Structure("c", np.full(n, 6, np.uint8), np.arange(n)[:, None] * [1.5, 0.0, 0.0], system="cluster", origin={"kind": "trimer"})
    fault = find_chemistry_fault(carbons)
    assert (fault.reason if fault else None) == reason
    assert find_chemistry_fault(replace(carbons, origin={})).reason == "bare_carbon"
    as_molecule = find_chemistry_fault(replace(carbons, system="molecule"))
    assert as_molecule.reason == "bare_carbon"
