"""Curation: what is kept, in its order, and why the rest is not."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from ase.build import molecule

from distillery.generators.perturb import perturb_structure
from distillery.schema.generate import Perturb
from distillery.structures.identity import structure_hash
from distillery.structures.structure import Structure, from_ase
from gateway.curate import curate
from gateway.curators import Curators
from gateway.settings import GatewaySettings
from tests.structures import copper_slab, methane, silicon, water

ELEMENTS = ("H", "C", "O", "Si")


def test_sound_structures_are_kept_in_their_order_with_their_hashes() -> None:
    structures = [methane("s/0"), water("s/1"), silicon("s/2")]
    curated = curate(structures, ELEMENTS, None)
    assert [s.id for s in curated.kept] == ["s/0", "s/1", "s/2"]
    assert curated.rejected == []
    assert curated.hashes == [structure_hash(s) for s in structures]


def test_the_first_of_twins_is_kept_whatever_lies_between() -> None:
    turned = replace(water("s/2"), positions=water().positions @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]]))
    curated = curate([water("s/0"), methane("s/1"), turned, water("s/3")], ELEMENTS, None)
    assert [s.id for s in curated.kept] == ["s/0", "s/1"]
    assert list(curated.fingerprints) == ["0", "1"]
    own = structure_hash(water())
    assert [(r.id, r.reason, r.stage) for r in curated.rejected] == [("s/2", "duplicate", "curation"), ("s/3", "duplicate", "curation")]
    assert curated.rejected[0].detail == f"its structure hash {own} came before in this shard, of s/0"


def test_what_came_in_another_shard_is_no_duplicate_here() -> None:
    assert [curate([water(f"s/{k}")], ELEMENTS, None).rejected for k in range(2)] == [[], []]


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
    curated = curate([structure, water("s/1")], ELEMENTS, (3, 12))
    assert [s.id for s in curated.kept] == ["s/1"]
    (rejected,) = curated.rejected
    assert (rejected.id, rejected.reason, rejected.stage) == (structure.id, reason, "curation")
    assert detail in rejected.detail


def test_twins_of_what_was_refused_are_refused_for_the_same_reason() -> None:
    flat = replace(water(), positions=0.1 * water().positions)
    curated = curate([replace(flat, id=f"s/{k}") for k in range(2)], ELEMENTS, None)
    assert [r.reason for r in curated.rejected] == ["atoms_too_close", "atoms_too_close"]


def test_a_structure_is_kept_as_its_shortest_description() -> None:
    cell = silicon().cell.copy()
    cell[1] += 30 * cell[0]
    curated = curate([replace(silicon("s/1"), cell=cell)], ELEMENTS, None)
    assert np.allclose(np.linalg.norm(curated.kept[0].cell, axis=1), 5.43)
    assert curated.rejected == []
    assert curated.hashes == [structure_hash(silicon())]


@pytest.mark.parametrize("width", [1e-3, 5e-3])
def test_a_copy_with_noise_is_refused_turned_and_renumbered_as_it_may_be(width: float) -> None:
    ethanol = from_ase(molecule("CH3CH2OH"), id="s/0", system="molecule")
    rng = np.random.default_rng(0)
    noisy = ethanol.positions + rng.normal(scale=width, size=ethanol.positions.shape)
    order = rng.permutation(len(ethanol))
    copy = replace(ethanol, id="s/1", numbers=ethanol.numbers[order], positions=noisy[order][:, [1, 2, 0]] + 3.0)
    curated = curate([ethanol, copy], ELEMENTS, None)
    assert [s.id for s in curated.kept] == ["s/0"]
    assert [r.reason for r in curated.rejected] == ["duplicate"]
    assert curated.rejected[0].detail.startswith("s/0 of this shard with noise: displacements of 0.00")


def test_strains_and_rattles_that_a_recipe_asks_for_are_no_noise() -> None:
    perturb, rng = Perturb(rattle=0.02, strain=0.04), np.random.default_rng(0)
    made = [replace(perturb_structure(silicon(), perturb, rng), id=f"s/{k}") for k in range(20)]
    assert len(curate(made, ELEMENTS, None).kept) == 20


def test_once_there_were_many_processes_curate_and_it_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.curators.STRUCTURES_A_WORKER", 1)
    batches = [[water(f"{k}/0"), methane(f"{k}/1"), water(f"{k}/2")] for k in range(3)]

    async def use() -> list[list[str]]:
        curators = Curators(2)
        own: list[list[str]] = []
        try:
            for batch in batches:
                found = await curators.curate(batch, ELEMENTS, None)
                assert found.hashes == curate(batch, ELEMENTS, None).hashes
                own.append([] if any(one is two for one, two in zip(found.kept, batch, strict=False)) else [s.id for s in found.kept])
        finally:
            await curators.close()
        return own

    assert asyncio.run(use()) == [["0/0", "0/1"], ["1/0", "1/1"], ["2/0", "2/1"]]
    monkeypatch.setattr("gateway.curators.STRUCTURES_A_WORKER", 1_000)
    assert asyncio.run(use()) == [[], [], []]  # the structures themselves come back: no process was asked


@pytest.mark.parametrize(("said", "n"), [("0", 0), ("3", 3)])
def test_the_number_of_processes_is_what_the_settings_say(monkeypatch: pytest.MonkeyPatch, said: str, n: int) -> None:
    assert GatewaySettings(workers=int(said)).n_workers == n
    monkeypatch.setenv("DISTILLERY_GATEWAY_WORKERS", said)
    assert GatewaySettings().n_workers == n
    monkeypatch.setenv("DISTILLERY_GATEWAY_WORKERS", "")
    assert 1 <= GatewaySettings().n_workers <= 8
