"""Structural diversity: what counts as the same environment, and how much of a source the others have."""

import warnings
from dataclasses import replace
from math import log

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule, surface
from scipy.spatial.transform import Rotation

from distillery.report.diversity import LEAST_SAMPLE, measure_diversity
from distillery.structures.environments import BANDWIDTH, describe_environments, find_coverage, find_entropy
from distillery.structures.structure import Structure, from_ase, to_ase


def rattled(atoms: Atoms, n: int, by: float = 0.03, first: int = 0) -> list[Structure]:
    made = []
    for seed in range(first, first + n):
        copy = atoms.copy()
        copy.rattle(by, rng=np.random.default_rng(seed))
        made.append(from_ase(copy, id=f"s/{seed:04d}", system="crystal" if all(copy.pbc) else "molecule"))
    return made


def silicon(n: int, by: float = 0.03) -> list[Structure]:
    return rattled(bulk("Si", cubic=True) * (2, 2, 2), n, by)


def benzene(n: int, by: float = 0.03) -> list[Structure]:
    return rattled(molecule("C6H6"), n, by)


def test_displacements_by_heat_are_as_far_apart_as_the_bandwidth_says() -> None:
    for atoms, low, high in ((bulk("NaCl", "rocksalt", 5.6, cubic=True) * (2, 2, 2), 0.015, 0.03), (molecule("C6H6"), 0.045, 0.075)):
        one, other = (describe_environments(rattled(atoms, 1, by=0.05, first=seed)[0]) for seed in (1, 2))
        assert low < np.median(np.linalg.norm(one - other, axis=1)) < high
    assert low < BANDWIDTH < high


def test_a_source_that_repeats_itself_has_less_entropy_and_covers_itself() -> None:
    found = measure_diversity({"crystal": silicon(6), "molecules": benzene(60, by=0.15)}, seed=1)
    assert found.ceiling == pytest.approx(log(found.n_environments), abs=1e-3)
    assert found.entropy["crystal"] < 0.5
    assert 2.0 < found.entropy["molecules"] <= found.ceiling
    assert found.coverage["crystal"]["crystal"] == 1.0


def test_sources_of_another_kind_do_not_cover_each_other() -> None:
    found = measure_diversity({"crystal": silicon(6), "molecules": benzene(60)}, seed=1)
    assert found.coverage["crystal"]["molecules"] == found.coverage["molecules"]["crystal"] == 0.0
    assert found.covered_by_others == {"crystal": 0.0, "molecules": 0.0}


def test_a_source_made_of_two_others_is_covered_by_them_together() -> None:
    both = [s for pair in zip(silicon(6), benzene(6), strict=True) for s in pair]
    both = [both[k] for k in (0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11)]
    found = measure_diversity({"both": both, "crystal": silicon(6), "molecules": benzene(60)}, seed=1)
    assert found.covered_by_others["both"] > 0.95
    assert found.covered_by_others["both"] > max(found.coverage["both"]["crystal"], found.coverage["both"]["molecules"])


def test_descriptor_entropy_and_coverage_are_those_of_the_authors_library(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    monkeypatch.setattr(numba.config, "DISABLE_JIT", True)  # compiling takes half a minute, for a tenth of a second of work
    from quests.descriptor import get_descriptors
    from quests.entropy import delta_entropy, entropy

    slab = surface(bulk("Si", cubic=True), (1, 1, 0), 3, vacuum=6.0, periodic=True)
    made = [*silicon(2), *benzene(4, by=0.1), *rattled(bulk("NaCl", "rocksalt", 5.6), 2), *rattled(slab, 2)]
    ours = np.concatenate([describe_environments(s) for s in made])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's remarks on types in quests
        theirs = get_descriptors([to_ase(s) for s in made])
    assert np.allclose(ours, theirs, rtol=0, atol=1e-9)
    one, other = np.ascontiguousarray(theirs[::2]), np.ascontiguousarray(theirs[1::2])
    assert find_entropy(ours) == pytest.approx(entropy(theirs, h=BANDWIDTH), abs=1e-9)
    with np.errstate(divide="ignore"):  # an environment far from all others is infinitely new
        wanted = (delta_entropy(one, other, h=BANDWIDTH) <= 0).mean()
    assert find_coverage(ours[::2], ours[1::2]) == wanted
    assert 0 < wanted < 1


def test_a_slab_that_is_periodic_in_its_plane_alone_is_seen_as_one_with_a_wide_gap() -> None:
    """The authors' library takes it for another structure."""
    (wide,) = rattled(surface(bulk("Si", cubic=True), (1, 1, 0), 3, vacuum=6.0, periodic=True), 1)
    assert np.array_equal(describe_environments(wide), describe_environments(replace(wide, pbc=(True, True, False))))


def test_some_atoms_are_described_as_among_all() -> None:
    (one,) = benzene(1)
    assert np.array_equal(describe_environments(one, [7, 2]), describe_environments(one)[[7, 2]])


def test_elements_do_not_enter() -> None:
    (one,) = silicon(1)
    other = replace(one, numbers=np.full(len(one), 6, np.uint8))
    assert np.array_equal(describe_environments(one), describe_environments(other))


@pytest.mark.parametrize("change", ["rotated", "moved", "reordered"])
def test_environments_do_not_depend_on_the_frame(change: str) -> None:
    (one,) = benzene(1)
    order = np.random.default_rng(0).permutation(len(one)) if change == "reordered" else np.arange(len(one))
    positions = {"rotated": Rotation.random(rng=np.random.default_rng(0)).apply(one.positions), "moved": one.positions + 3.0}
    other = replace(one, numbers=one.numbers[order], positions=positions.get(change, one.positions)[order])
    assert np.allclose(describe_environments(one)[order], describe_environments(other), atol=1e-9)


def test_the_same_seed_gives_the_same_numbers_and_another_draws_others() -> None:
    samples = {"crystal": silicon(6, by=0.1), "molecules": benzene(60, by=0.1)}
    one, same, other = (measure_diversity(samples, seed).as_json() for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_source_with_too_few_environments_is_left_out_and_named() -> None:
    found = measure_diversity({"crystal": silicon(6), "few": benzene(3), "none": []}, seed=1)
    assert found.too_small == {"few": 12, "none": 0}
    assert set(found.entropy) == set(found.coverage) == {"crystal"}
    assert found.covered_by_others == {}
    assert found.n_environments >= LEAST_SAMPLE


def test_nothing_at_all_is_no_error() -> None:
    assert measure_diversity({"none": []}, seed=1).as_json()["entropy"] == {}


def test_single_atoms_and_tiny_cells_can_be_described() -> None:
    alone = from_ase(Atoms("H", [(0, 0, 0)]), id="a/0000", system="cluster")
    tiny = from_ase(bulk("Cu"), id="a/0001", system="crystal")
    assert describe_environments(alone).shape == describe_environments(tiny).shape == (1, 63)
    assert not describe_environments(alone).any()
    assert find_coverage(describe_environments(tiny), describe_environments(tiny)) == 1.0
