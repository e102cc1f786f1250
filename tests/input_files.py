"""Files of structures as a user has them, in every format that is read, written by the programs that users write them with."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk, molecule, surface
from ase.collections import g2
from ase.io import write
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
CARBIDE = Structure.from_spacegroup("F-43m", Lattice.cubic(4.36), ["Si", "C"], [[0, 0, 0], [0.25, 0.25, 0.25]])
_CARBENES = {"CH2_s1A1d", "SiH2_s1A1d"}
"""Refused, as hydrogens seem to be missing."""
_ELEMENTS = {"H", "C", "N", "O", "F", "Si", "P", "S", "Cl"}


def molecules() -> list[Atoms]:
    """The closed-shell molecules of G2 that are in one piece and of the nine elements, each with its name."""
    found = []
    for name in g2.names:
        atoms = molecule(name)
        is_closed = name not in _CARBENES and not atoms.get_initial_magnetic_moments().any()
        if is_closed and len(atoms) >= 3 and set(atoms.get_chemical_symbols()) <= _ELEMENTS:
            atoms.info["name"] = name
            found.append(atoms)
    return found


def crystals(n: int, seed: int = 0) -> list[Atoms]:
    """Silicon carbide, every one with its atoms moved a little."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        atoms = bulk("SiC", "zincblende", a=4.36, cubic=True)
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        found.append(atoms)
    return found


def slabs(n: int, seed: int = 0) -> list[Atoms]:
    """Silicon slabs that are periodic in their plane alone."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(n):
        atoms = surface(bulk("Si", cubic=True), (1, 0, 0), 2 + k % 2, vacuum=5.0)
        atoms.pbc = (True, True, False)
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        found.append(atoms)
    return found


def pairs_of_molecules() -> list[Atoms]:
    """Clusters: the same molecule twice, 4 Å apart."""
    found = []
    for atoms in molecules():
        other = atoms.copy()
        other.positions[:, 0] += float(np.ptp(atoms.positions[:, 0])) + 4.0
        found.append(atoms + other)
    return found


def write_inputs(folder: Path) -> None:
    """Some of every system: packed XYZ of molecules and clusters, a CIF, a POSCAR, a database of crystals and one file of slabs."""
    write_frames(folder / "molecules.extxyz.gz", molecules())
    write_frames(folder / "pairs.xyz", pairs_of_molecules())
    write(folder / "crystals.db", crystals(30))
    write_frames(folder / "slabs.extxyz", slabs(30))
    write_crystal_files(folder)


def write_frames(path: Path, frames: Sequence[Atoms]) -> None:
    """Extended XYZ, packed if the name says so."""
    write(path, list(frames), format="extxyz")


def write_crystal_files(folder: Path) -> None:
    """A CIF with its symmetry and a POSCAR."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # spglib's, of how pymatgen calls it
        CifWriter(CARBIDE, symprec=0.01).write_file(str(folder / "carbide.cif"))
    SILICON.to(filename=str(folder / "POSCAR_silicon"), fmt="poscar")
