"""The structures of a dataset as ASE atoms that hold their labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from distillery.dataset.blocks import Block, Indices, read_blocks


def read_dataset(path: Path | str, indices: Indices | None = None) -> Iterator[Atoms]:
    """The structures of a dataset one by one as ASE atoms with a calculator that holds the labels (eV, eV/Å, eV/Å³).

    `info` has id, source, system and origin (JSON), and of a dataset with charges or spins `charge` and `spin`, the multiplicity. Stress
    is there only where it has a meaning, energies of atoms (ASE's `energies`) where the dataset has them. `indices` says which
    structures and in which order; all if absent. InvalidRequest if the file is no dataset, or has no such index.
    """
    for block in read_blocks(path, indices):
        for k in range(len(block)):
            yield make_atoms(block, k)


def make_atoms(block: Block, k: int) -> Atoms:
    """Structure k of a block, which it shares no memory with."""
    rows = block.rows(k)
    atoms = Atoms(
        numbers=block.numbers[rows],
        positions=block.positions[rows],
        cell=block.cells[k],
        pbc=block.pbc[k],
        info={name: texts[k] for name, texts in block.texts.items()},
    )
    if block.charge is not None and block.spin is not None:
        atoms.info |= {"charge": int(block.charge[k]), "spin": int(block.spin[k])}
    results: dict[str, Any] = {"energy": float(block.energy[k]), "forces": block.forces[rows].astype(np.float64)}
    if block.atomic_energies is not None and block.has_atomic_energies[k]:
        results["energies"] = block.atomic_energies[rows].copy()
    if block.has_stress[k]:
        results["stress"] = block.stress[k].copy()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
