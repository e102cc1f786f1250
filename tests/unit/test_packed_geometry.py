"""Packed geometries come back, to their rounding, whatever repeats; a composition that is none is refused."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import add_vacuum, bulk, fcc111, molecule

from distillery.structures.packed_geometry import count_atoms, count_bytes, pack_geometry, unpack_geometry
from distillery.structures.structure import Structure, from_ase


def structures() -> list[tuple[str, Structure]]:
    slab = fcc111("Cu", (2, 1, 2), vacuum=8.0)
    far = bulk("Cu", cubic=True) * (3, 1, 1)
    add_vacuum(far, 400.0)
    return [
        ("H6C6", from_ase(molecule("C6H6"), id="", system="molecule")),
        ("Na4Cl4*", from_ase(bulk("NaCl", "rocksalt", 5.64, cubic=True), id="", system="crystal")),
        ("Cu4*", from_ase(slab, id="", system="surface")),
        ("Cu12*", from_ase(far, id="", system="crystal")),
        ("He1", from_ase(Atoms("He"), id="", system="cluster")),
    ]


@pytest.mark.parametrize(("composition", "structure"), structures())
def test_a_geometry_comes_back(composition: str, structure: Structure) -> None:
    packed = pack_geometry(structure)
    assert len(packed) == count_bytes(composition)
    assert len(packed) % 4 == 0
    found, order = unpack_geometry(composition, packed), np.argsort(structure.numbers, kind="stable")
    assert found.pbc == structure.pbc
    assert np.array_equal(found.numbers, structure.numbers[order])
    assert np.allclose(found.cell, structure.cell, atol=1e-4)
    apart = found.positions - structure.positions[order]
    apart -= apart[0]
    if all(structure.pbc):
        apart -= np.rint(apart @ np.linalg.inv(structure.cell)) @ structure.cell
    assert np.abs(apart).max() <= max(1e-3, float(np.ptp(structure.positions)) / 30_000)


def test_atoms_outside_of_their_cell_are_wrapped_and_lose_no_digits() -> None:
    _, crystal = structures()[1]
    away = replace(
        crystal, positions=crystal.positions + np.array([[900.0, 0, 0]] * 4 + [[0, -900, 0]] * 4) @ np.eye(3) * crystal.cell[0, 0]
    )
    assert np.frombuffer(pack_geometry(away), "<f4", 1, 4)[0] < 2e-4


@pytest.mark.parametrize("text", ["", "*", "H", "6", "H6C", "Xy2", "H2 O1", "[+1,2]", "H-1"])
def test_what_is_no_composition_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no composition"):
        count_atoms(text)
