"""Structure hashes: invariant where the structure is, different where it is not."""

from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pytest
from ase.build import make_supercell
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from distillery.structures.geometry import find_pairs
from distillery.structures.identity import HASH_CUTOFF, _environments, derive_seed, digest_structures, structure_hash
from distillery.structures.structure import Structure, from_ase, to_ase
from tests.structures import copper_slab, methane, one_atom, silicon, water

ALL = [water(), methane(), silicon(), copper_slab()]
one_of_all = pytest.mark.parametrize("structure", ALL, ids=lambda s: s.id)


@one_of_all
@settings(max_examples=25)
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


KNOWN = {
    "water/0000": "bd0d3c3cc7baf8e68bd0c917dc3e96fe",
    "methane/0000": "41c8e8a0b0360b332917d824dc89a7e3",
    "silicon/0000": "8a3cb9f8d59a1343320118c700e6dfde",
    "slab/0000": "d24d61bec7e3816912c45841bd4464f0",
    "atom/0000": "02ce1a8e5f537b3b22995f5d41374ba5",
}


def test_hashes_are_those_of_datasets_that_were_made_before() -> None:
    assert {s.id: structure_hash(s) for s in (*ALL, one_atom())} == KNOWN


@pytest.mark.parametrize("n_atoms", [1, 2, 30, 200])
@pytest.mark.parametrize("is_periodic", [False, True])
def test_the_hash_is_made_of_each_atoms_sorted_neighbours(n_atoms: int, is_periodic: bool) -> None:
    """Atom by atom, as it is defined."""
    rng, edge = np.random.default_rng(n_atoms), 2.2 * n_atoms ** (1 / 3)
    structure = Structure(
        "x",
        rng.integers(1, 118, n_atoms).astype(np.uint8),
        rng.uniform(0, edge, (n_atoms, 3)),
        edge * np.eye(3) if is_periodic else np.zeros((3, 3)),
        (is_periodic,) * 3,
        "crystal" if is_periodic else "cluster",
    )
    pairs, environments = find_pairs(structure, HASH_CUTOFF), []
    for atom, number in enumerate(structure.numbers.tolist()):
        mine = pairs.i == atom
        steps = np.floor(pairs.distance[mine] / 0.01 + 0.3819660113).astype("<i8")
        tokens = np.sort((structure.numbers[pairs.j[mine]].astype("<i8") << 32) + steps)
        environments.append(blake2b(tokens.tobytes(), key=bytes([number]), digest_size=8).digest())
    found = _environments(structure).astype("<u8").tobytes()
    assert found == b"".join(environments)


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
