"""Copies with noise are found in whatever order and orientation; what differs is told apart, and fingerprints survive their text."""

from base64 import b64encode
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from distillery.generators.compounds import read_compounds
from distillery.generators.perturb import perturb_structure
from distillery.generators.supercell import expand_to
from distillery.schema.generate import Perturb
from distillery.structures import fingerprint_heads, near_duplicates
from distillery.structures.near_duplicates import Fingerprint, NearDuplicates, find_distance, make_fingerprint
from distillery.structures.structure import Structure, from_ase

_COMPOUNDS = [compound.structure for compound in read_compounds() if len(compound.structure) < 30]


def shaken(structure: Structure, width: float, seed: int) -> Structure:
    noise = np.random.default_rng(seed).normal(scale=width, size=structure.positions.shape)
    return replace(structure, positions=structure.positions + noise)


def are_alike(one: Structure, other: Structure) -> bool:
    return find_distance(make_fingerprint(one), make_fingerprint(other)).is_alike


def crystals() -> list[Structure]:
    rng = np.random.default_rng(0)
    return [expand_to(_COMPOUNDS[k], 20, 60, rng) for k in rng.permutation(len(_COMPOUNDS))[:25].tolist()]


def turned(structure: Structure, seed: int) -> Structure:
    """In another order and orientation, mirrored for some seeds."""
    rng = np.random.default_rng(seed)
    order, turn = rng.permutation(len(structure)), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    return replace(structure, numbers=structure.numbers[order], positions=structure.positions[order] @ turn, cell=structure.cell @ turn)


@pytest.mark.parametrize(("width", "least"), [(1e-3, 1.0), (5e-3, 1.0), (1e-2, 0.9)])
def test_copies_of_crystals_with_noise_are_found(width: float, least: float) -> None:
    made = list(enumerate(crystals()))
    assert np.mean([are_alike(crystal, shaken(crystal, width, k)) for k, crystal in made]) >= least
    assert np.mean([are_alike(crystal, turned(shaken(crystal, width, k), k)) for k, crystal in made]) >= least


@pytest.mark.parametrize(("width", "least"), [(1e-3, 1.0), (1e-2, 0.9)])
def test_copies_of_molecules_with_noise_are_found(width: float, least: float) -> None:
    names = ("C6H6", "C5H8", "isobutane", "CH3COCH3", "C4H4NH", "C2H2", "CH4", "CO2", "CH3CH2OH", "H2CO")
    molecules = [from_ase(molecule(name), id=name, system="molecule") for name in names if len(molecule(name)) > 3]
    assert np.mean([are_alike(one, shaken(one, width, k)) for k in range(5) for one in molecules]) >= least
    assert np.mean([are_alike(one, turned(shaken(one, width, k), k)) for k in range(5) for one in molecules]) >= least


def test_the_displacement_is_that_of_the_noise() -> None:
    for k, crystal in enumerate(crystals()[:8]):
        noise = np.random.default_rng(k).normal(scale=8e-3, size=crystal.positions.shape)
        wanted = np.sqrt(((noise - noise.mean(axis=0)) ** 2).sum() / (noise.size - 3))
        copy = make_fingerprint(turned(replace(crystal, positions=crystal.positions + noise), k))
        assert find_distance(make_fingerprint(crystal), copy).displacement == pytest.approx(wanted, rel=0.1)


def test_another_cell_of_the_same_lattice_does_not_matter() -> None:
    crystal = shaken(crystals()[1], 0.05, 0)
    skewed = np.array([[1, 0, 0], [1, 1, 0], [0, -1, 1]]) @ crystal.cell
    assert are_alike(crystal, turned(replace(crystal, cell=skewed, positions=crystal.positions + skewed[1]), 0))


def test_rattles_of_two_hundredths_are_mostly_told_apart() -> None:
    found = [are_alike(shaken(crystal, 0.02, k), turned(shaken(crystal, 0.02, 1000 + k), k)) for k, crystal in enumerate(crystals())]
    assert np.mean(found) <= 0.05


def test_crystals_that_a_recipe_perturbs_are_told_apart() -> None:
    made = [perturb_structure(crystals()[0], Perturb(rattle=0.02, strain=0.04), np.random.default_rng(k)) for k in range(40)]
    near_duplicates = NearDuplicates()
    for one in map(make_fingerprint, made):
        assert near_duplicates.find(one) is None
        near_duplicates.add(one)


def test_strains_are_told_apart() -> None:
    silicon = from_ase(bulk("Si", cubic=True), id="", system="crystal")
    assert not are_alike(silicon, replace(silicon, cell=1.01 * silicon.cell, positions=1.01 * silicon.positions))


def test_order_and_orientation_do_not_matter() -> None:
    one = from_ase(molecule("CH3CH2OH"), id="", system="molecule")
    order = np.random.default_rng(0).permutation(len(one))
    other = replace(one, numbers=one.numbers[order], positions=one.positions[order][:, [2, 0, 1]] - 5.0)
    assert find_distance(make_fingerprint(one), make_fingerprint(other)).displacement < 5e-4  # rounded


def test_elements_that_change_places_are_told_apart() -> None:
    one = from_ase(Atoms("NCCO", [(0, 0, 0), (1.47, 0, 0), (2.0, 1.4, 0), (3.4, 1.4, 0.3)]), id="", system="cluster")
    other = replace(one, numbers=one.numbers[[3, 1, 2, 0]])
    assert not are_alike(one, other)


def test_dimers_along_a_curve_are_told_apart() -> None:
    pairs = [from_ase(Atoms("Si2", [(0, 0, 0), (0, 0, distance)]), id="", system="cluster") for distance in (2.3, 2.303)]
    assert not are_alike(*pairs)


def test_what_is_beyond_the_reach_of_its_sums_is_not_alike() -> None:
    """The quick look that spares the whole one leaves out none that is alike."""
    for k, crystal in enumerate(crystals()):
        one, other = make_fingerprint(crystal), make_fingerprint(shaken(crystal, 0.01, k))
        known = NearDuplicates()
        known.add(one)
        assert (known.find(other) is not None) == find_distance(one, other).is_alike


def test_many_at_once_are_taken_as_one_by_one() -> None:
    several = [shaken(crystal, width, k) for k, crystal in enumerate(crystals()[:4]) for width in (0.0, 0.005, 0.1)]
    fingerprints = [make_fingerprint(one) for one in [*several, *several[::-1]]]
    one_by_one, batches = NearDuplicates(), NearDuplicates()
    wanted = list[bool]()
    for one in fingerprints:
        wanted.append(one_by_one.find(one) is not None)
        if not wanted[-1]:
            one_by_one.add(one)
    assert batches.take(fingerprints[:7]) + batches.take([]) + batches.take(fingerprints[7:]) == wanted
    assert 0 < wanted.index(True) < len(several) <= wanted.count(True)


@pytest.mark.parametrize("most_rows", [200_000, 10])
def test_frames_of_few_compositions_are_told_apart_many_at_once(most_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trajectory has thousands; nearly all are told apart without one by one. What is dropped from memory is read again."""
    monkeypatch.setattr(fingerprint_heads, "_MOST_ROWS", most_rows)
    one_of_each = [from_ase(molecule(name), id="", system="molecule") for name in ("C6H6", "CH3CH2OH")]
    frames = [shaken(one_of_each[k % 2], 0.08, k) for k in range(80)]
    fingerprints = [make_fingerprint(one) for one in [*frames, *(shaken(frame, 0.004, 9) for frame in frames[::8])]]
    wanted = [any(find_distance(one, other).is_alike for other in fingerprints[:80] if other is not one) for one in fingerprints[80:]]
    compared: list[Fingerprint] = []
    monkeypatch.setattr(near_duplicates, "find_distance", lambda one, other: compared.append(other) or find_distance(one, other))
    known = NearDuplicates()
    assert known.take(fingerprints[:80]) == [False] * 80
    assert known.take(fingerprints[80:]) == wanted == [True] * 10
    assert len(compared) < 80 * 40 / 8


def test_a_fingerprint_comes_back_from_its_text_and_nonsense_does_not() -> None:
    one = make_fingerprint(from_ase(molecule("C6H6"), id="", system="molecule"))
    assert Fingerprint.from_text(one.as_text()) == one
    assert one.composition == "H6C6"
    older = f"H6C6 {b64encode(bytes(276)).decode()}"
    for nonsense in ("", "H6C6 AAAA", "H6C6 !", "Xy6 AAAA", "6 AAAA", older):
        with pytest.raises(ValueError, match=r"fingerprint|base64|characters|composition"):
            Fingerprint.from_text(nonsense)
