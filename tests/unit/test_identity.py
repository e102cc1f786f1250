"""Structure hashes: invariant where the structure is, different where it is not."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from contract.identity import derive_seed, digest_structures, structure_hash
from contract.structures import Structure, from_ase, to_ase
from tests.structures import copper_slab, methane, silicon, water

ALL = [water(), methane(), silicon(), copper_slab()]
one_of_all = pytest.mark.parametrize("structure", ALL, ids=lambda s: s.id)


@one_of_all
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_hash_ignores_order_place_and_orientation(structure: Structure, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn, order = Rotation.random(rng=rng).as_matrix(), rng.permutation(len(structure))
    moved = replace(
        structure,
        numbers=structure.numbers[order],
        positions=(structure.positions @ turn + rng.normal(size=3))[order],
        cell=structure.cell @ turn,
    )
    assert structure_hash(moved) == structure_hash(structure)


@pytest.mark.parametrize(
    "matrix", [np.diag([2, 1, 1]), np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]]), np.array([[1, -1, 0], [1, 1, 0], [0, 0, 2]])]
)
def test_hash_ignores_the_choice_of_cell(matrix: np.ndarray) -> None:
    crystal = silicon()
    bigger = from_ase(make_supercell(to_ase(crystal), matrix), id="x", system="crystal")
    assert structure_hash(bigger) == structure_hash(crystal)


@one_of_all
def test_hash_sees_a_moved_atom_and_another_element(structure: Structure) -> None:
    positions = structure.positions.copy()
    positions[0] += [0.05, 0.1, 0.2]
    numbers = structure.numbers.copy()
    numbers[0] = 7
    assert structure_hash(replace(structure, positions=positions)) != structure_hash(structure)
    assert structure_hash(replace(structure, numbers=numbers)) != structure_hash(structure)


def test_two_molecules_are_not_one() -> None:
    one = water()
    two = replace(one, numbers=np.tile(one.numbers, 2), positions=np.concatenate([one.positions, one.positions + 50]))
    assert structure_hash(two) != structure_hash(one)


def test_seeds_differ_by_recipe_source_and_index() -> None:
    seeds = {derive_seed(s, source, i) for s in range(5) for source in "abc" for i in range(20)}
    assert len(seeds) == 300
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(42, "full-molecules", 3) == 3379496545767851547


def test_digest_depends_on_order_and_content() -> None:
    assert digest_structures(["a", "b"], ["1", "2"]) != digest_structures(["b", "a"], ["2", "1"])
    assert digest_structures(["a"], ["1"]) != digest_structures(["a"], ["2"])
