"""Curation: what is kept, in its order, and why the rest is not."""

from dataclasses import replace

import numpy as np
import pytest

from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure
from gateway.curate import curate
from tests.structures import copper_slab, methane, silicon, water

ELEMENTS = ("H", "C", "O", "Si")


def test_sound_structures_are_kept_in_their_order_with_their_hashes() -> None:
    structures = [methane("s/0"), water("s/1"), silicon("s/2")]
    hashes: dict[str, str] = {}
    kept, rejected = curate(structures, ELEMENTS, None, hashes)
    assert [s.id for s in kept] == ["s/0", "s/1", "s/2"]
    assert rejected == []
    assert hashes == {s.id: structure_hash(s) for s in structures}


def test_the_first_of_twins_is_kept_whatever_lies_between() -> None:
    turned = replace(water("s/2"), positions=water().positions @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]))
    hashes: dict[str, str] = {}
    kept, rejected = curate([water("s/0"), methane("s/1"), turned, water("s/3")], ELEMENTS, None, hashes)
    assert [s.id for s in kept] == list(hashes) == ["s/0", "s/1"]
    own = structure_hash(water())
    assert [(r.id, r.reason, r.stage) for r in rejected] == [("s/2", "duplicate", "curation"), ("s/3", "duplicate", "curation")]
    assert rejected[0].detail == f"its structure hash {own} came before in this shard"


def test_what_came_in_another_shard_is_no_duplicate_here() -> None:
    assert [curate([water(f"s/{k}")], ELEMENTS, None)[1] for k in range(2)] == [[], []]


@pytest.mark.parametrize(
    ("structure", "reason", "detail"),
    [
        (copper_slab(), "unknown_element", "Cu not among"),
        (replace(water(), positions=0.1 * water().positions), "atoms_too_close", "covalent radii"),
        (replace(methane(), numbers=methane().numbers[:1], positions=methane().positions[:1]), "size", "1 atoms, wanted 3-12"),
    ],
    ids=["element", "distance", "size"],
)
def test_what_is_refused_is_recorded_with_its_reason_and_the_rest_is_kept(structure: Structure, reason: str, detail: str) -> None:
    hashes: dict[str, str] = {}
    kept, (rejected,) = curate([structure, water("s/1")], ELEMENTS, (3, 12), hashes)
    assert [s.id for s in kept] == list(hashes) == ["s/1"]
    assert (rejected.id, rejected.reason, rejected.stage) == (structure.id, reason, "curation")
    assert detail in rejected.detail


def test_twins_of_what_was_refused_are_refused_for_the_same_reason() -> None:
    flat = replace(water(), positions=0.1 * water().positions)
    _, rejected = curate([replace(flat, id=f"s/{k}") for k in range(2)], ELEMENTS, None)
    assert [r.reason for r in rejected] == ["atoms_too_close", "atoms_too_close"]


def test_a_structure_is_kept_as_its_shortest_description() -> None:
    cell = silicon().cell.copy()
    cell[1] += 30 * cell[0]
    hashes: dict[str, str] = {}
    (kept,), rejected = curate([replace(silicon("s/1"), cell=cell)], ELEMENTS, None, hashes)
    assert np.allclose(np.linalg.norm(kept.cell, axis=1), 5.43)
    assert rejected == []
    assert hashes == {"s/1": structure_hash(silicon())}
