"""Assessments: nested shares, slopes, the verdict in words, errors, faults of dynamics, and the recipe of a probe set."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk, molecule

from distillery.assess.assessment import choose_steps
from distillery.assess.dynamics import find_fault
from distillery.assess.errors import group_errors
from distillery.assess.graphs import Graph, find_edges, make_graph
from distillery.assess.probe import choose_smiles
from distillery.assess.shares import choose_shares
from distillery.assess.student import Prediction, _fit_shifts
from distillery.assess.verdict import find_needs, find_slope, say_verdict
from distillery.errors import InvalidRequest
from distillery.schema.assess import CurvePoint, Errors
from distillery.structures.geometry import find_pairs
from distillery.structures.smiles import count_atoms
from distillery.structures.structure import DEFAULT_ELEMENTS, Structure, System, from_ase


def errors(forces: float, energy: float = 10.0, zero: float = 800.0) -> Errors:
    return Errors(n_structures=4, forces=forces, zero_forces=zero, energy=energy)


def point(n: int, passes: float = 6.0, **forces: float) -> CurvePoint:
    family = {name: errors(value, energy=value / 10) for name, value in forces.items()}
    return CurvePoint(share=1.0, n_structures=n, n_atoms=20 * n, seconds=1.0, passes=passes, source={}, system={}, family=family, unseen={})


# Shares.


def test_every_share_holds_the_one_before_and_the_same_part_of_every_source() -> None:
    sources = ["a"] * 40 + ["b"] * 8
    small, middle, all_of_it = choose_shares([f"x/{k}" for k in range(48)], sources, (0.25, 0.5, 1.0))
    assert set(small) < set(middle) < set(all_of_it) == set(range(48))
    assert [sum(sources[k] == "b" for k in share) for share in (small, middle, all_of_it)] == [2, 4, 8]


def test_a_share_has_something_of_every_source() -> None:
    assert choose_shares(["x/0", "x/1"], ["a", "b"], (0.1, 1.0))[0] == [0, 1]


def test_another_seed_gives_other_shares() -> None:
    ids = [f"x/{k}" for k in range(48)]
    assert choose_shares(ids, ["a"] * 48, seed=1) == choose_shares(ids, ["a"] * 48, seed=1) != choose_shares(ids, ["a"] * 48, seed=2)


@pytest.mark.parametrize("shares", [(0.5, 0.25), (0.5, 0.5), (0.0, 1.0), (0.5, 1.5)])
def test_shares_that_do_not_grow_within_the_whole_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InvalidRequest, match="shares must grow"):
        choose_shares(["x/0"], ["a"], shares)


# The verdict.


def test_a_slope_is_that_of_the_logarithms() -> None:
    assert find_slope([(25, 400.0), (50, 200.0), (100, 100.0)]) == -1.0
    assert find_slope([(100, 400.0)]) is None


def test_the_verdict_names_the_family_whose_error_falls_most_with_more_structures() -> None:
    curve = [point(25, molecules=300, crystals=820, slabs=560), point(100, molecules=300, crystals=471, slabs=379)]
    needs = find_needs(curve)
    assert needs["crystals"].share == 0.41
    assert needs["crystals"].slope == -0.4
    said = say_verdict(curve, needs, 400)
    assert said.startswith("More crystals would help most: 41 % of the error, slope still −0.4.")
    assert "Energies are worst for crystals: 47 meV/atom." in said


def test_a_large_error_that_does_not_fall_is_not_what_more_structures_help() -> None:
    curve = [point(25, molecules=400, crystals=700), point(100, molecules=200, crystals=700)]
    assert say_verdict(curve, find_needs(curve), 400).startswith("More molecules would help most")


def test_the_verdict_says_so_where_more_of_the_same_helps_nowhere() -> None:
    curve = [point(25, molecules=200, crystals=700), point(100, molecules=201, crystals=700)]
    said = say_verdict(curve, find_needs(curve), 400)
    assert said.startswith("More of the same would help little")
    assert "the largest is that of crystals, 78 % of the error" in said


def test_one_share_tells_no_slope() -> None:
    curve = [point(100, molecules=200, crystals=600)]
    assert say_verdict(curve, find_needs(curve), 400).startswith("The largest error is that of crystals: 75 % of the error; a single share")


def test_a_student_that_learned_nothing_is_told() -> None:
    curve = [point(25, molecules=900, crystals=900), point(100, molecules=850, crystals=801)]
    assert say_verdict(curve, find_needs(curve), 400).startswith("The student learned no forces")
    half = [point(25, molecules=900, crystals=900), point(100, molecules=400, crystals=801)]
    assert "It learned nothing of crystals" in say_verdict(half, find_needs(half), 400)


def test_a_training_that_was_too_short_says_nothing_of_the_structures() -> None:
    curve = [point(25, molecules=900, crystals=900), point(4000, passes=0.25, molecules=400, crystals=801)]
    said = say_verdict(curve, find_needs(curve), 600)
    assert said.startswith(
        "The training was too short to tell what more structures would bring: each of the 4000 was seen 0.25 times in 600"
    )
    assert said.endswith("give --budget 7200 or more.")


def test_steps_are_six_passes_within_bounds() -> None:
    methane = graph(molecule("CH4"), "a", -20.0)
    assert [choose_steps(n * [methane]) for n in (13, 13 * 200, 13 * 10_000)] == [400, 1200, 12_000]


# Graphs, errors, energies.

MOLECULES = [("H2", 2, 0), ("O2", 0, 2), ("H2O", 2, 1), ("H2O2", 2, 2)]


def structure(atoms: object, system: System = "molecule") -> Structure:
    return from_ase(atoms, id="x/0", system=system)


def graph(atoms: object, source: str, energy: float, force: float = 0.0) -> Graph:
    own = structure(atoms)
    return make_graph(own, source, energy, np.full((len(own), 3), force))


def test_edges_and_shifts_tell_the_distances_of_all_neighbours() -> None:
    crystal = structure(bulk("Si").repeat((1, 2, 1)), "crystal")
    edges, shifts = find_edges(crystal)
    vectors = crystal.positions[edges[1]] - crystal.positions[edges[0]] + shifts @ crystal.cell
    assert np.allclose(np.linalg.norm(vectors, axis=1), find_pairs(crystal, 5.0).distance, atol=1e-9)
    assert (shifts != 0).any()


def test_ions_do_not_bend_the_shifts_of_a_student() -> None:
    """Their charge costs energy that is none of their elements'; the fit is that which datasets are handed on with."""
    plain = [graph(molecule(name), "a", -13.0 * n_hydrogens - 100.0 * n_oxygens) for name, n_hydrogens, n_oxygens in MOLECULES]
    ions = [replace(one, structure=replace(one.structure, charge=1), energy=one.energy + 12.0) for one in plain]
    assert _fit_shifts([*plain, *ions]) == {"H": pytest.approx(-13.0, abs=1e-6), "O": pytest.approx(-100.0, abs=1e-6)}


def test_errors_are_means_over_components_and_structures_in_milli() -> None:
    graphs = [graph(molecule("H2O"), "a", -9.0, 1.0), graph(molecule("CH4"), "b", -20.0), graph(molecule("CO2"), "b", -20.0)]
    found = group_errors(
        graphs,
        [Prediction(f.energy + 0.3 * (f.source == "a"), f.forces + 0.25 * (f.source == "b")) for f in graphs],
        lambda f: f.source,
    )
    assert found["a"] == Errors(n_structures=1, forces=0.0, zero_forces=1000.0, energy=100.0)
    assert found["b"] == Errors(n_structures=2, forces=250.0, zero_forces=0.0, energy=0.0)


# Dynamics and probe.


def test_faults_of_dynamics_are_named() -> None:
    water = molecule("H2O")
    assert find_fault(water) is None
    hot = water.copy()
    hot.set_momenta(np.full((3, 3), 20.0))
    assert find_fault(hot) == "too_hot"
    close = water.copy()
    close.positions[1] = close.positions[0] + [0.3, 0, 0]
    assert find_fault(close) == "too_close"
    lost = water.copy()
    lost.positions[0] = np.nan
    assert find_fault(lost) == "not_finite"


def test_the_probe_sets_molecules_are_of_the_elements_asked_for() -> None:
    hydrocarbons = choose_smiles(["H", "C"])
    assert "c1ccccc1 benzene" in hydrocarbons
    assert all(set(count_atoms(line.split()[0]) or ()) == {"H", "C"} for line in hydrocarbons)
    assert len(choose_smiles(DEFAULT_ELEMENTS)) > 70
    assert choose_smiles(["Si"]) == []
