"""Structure: one set of atoms with its cell, what kind of system it is and how it was made."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from distillery.runtime.canonical_json import to_json_safe
from distillery.structures.elements import DEFAULT_ELEMENTS as DEFAULT_ELEMENTS
from distillery.structures.elements import PERIODIC_SYSTEMS as PERIODIC_SYSTEMS
from distillery.structures.elements import SYSTEMS as SYSTEMS
from distillery.structures.elements import System as System

Vectors = NDArray[np.float64]
Numbers = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Structure:
    """One atomic structure; shapes are checked on creation, values are not (`distillery.structures.checks` does that).

    id         `<shard>/<nnnn>`
    numbers    atomic numbers, shape (n_atoms,)
    positions  Cartesian, Å, shape (n_atoms, 3)
    cell       Å, shape (3, 3); rows are vectors, so cell[0] is a; all zero when not periodic
    pbc        periodic along a, b, c
    system     molecule | crystal | cluster | surface
    origin     how it was made: SMILES, prototype, Miller index, rattle, …; made such that JSON can carry it, null for NaN
    charge     total, of a cell where it is periodic, e
    multiplicity  of the spin, 2 S + 1; 0 for the lowest that its electrons allow
    """

    id: str
    numbers: Numbers
    positions: Vectors
    cell: Vectors = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: tuple[bool, bool, bool] = (False, False, False)
    system: System = "molecule"
    origin: Mapping[str, Any] = field(default_factory=dict)
    charge: int = 0
    multiplicity: int = 0

    def __post_init__(self) -> None:
        n_atoms = len(self.numbers)
        if self.numbers.shape != (n_atoms,) or self.numbers.dtype != np.uint8:
            raise ValueError(f"numbers must be uint8 of shape (n_atoms,), got {self.numbers.dtype} {self.numbers.shape}")
        if self.positions.shape != (n_atoms, 3) or self.positions.dtype != np.float64:
            raise ValueError(f"positions must be float64 ({n_atoms}, 3), got {self.positions.dtype} {self.positions.shape}")
        if self.cell.shape != (3, 3) or self.cell.dtype != np.float64:
            raise ValueError(f"cell must be float64 (3, 3), got {self.cell.dtype} {self.cell.shape}")
        if self.system not in SYSTEMS:
            raise ValueError(f"system must be one of {', '.join(SYSTEMS)}, got {self.system!r}")
        object.__setattr__(self, "origin", to_json_safe(self.origin))

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def is_periodic(self) -> bool:
        """True if periodic along any direction."""
        return any(self.pbc)

    @property
    def volume(self) -> float:
        """Cell volume, Å³; 0 when not periodic."""
        return float(abs(np.linalg.det(self.cell)))

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols, one an atom."""
        return [chemical_symbols[z] for z in self.numbers]

    @property
    def n_electrons(self) -> int:
        """Those of all atoms less the charge."""
        return int(self.numbers.sum(dtype=np.int64)) - self.charge

    @property
    def lowest_multiplicity(self) -> int:
        """Singlet for an even number of electrons, doublet for an odd one."""
        return 1 + self.n_electrons % 2

    @property
    def spin_multiplicity(self) -> int:
        """The multiplicity, the lowest where none is given: at least 1."""
        return self.multiplicity or self.lowest_multiplicity

    @property
    def is_plain(self) -> bool:
        """Neutral, and of the lowest spin: what a teacher means that knows of neither."""
        return self.charge == 0 and self.multiplicity in (0, self.lowest_multiplicity)

    def renamed(self, new_id: str) -> "Structure":
        """The same structure under another id."""
        return replace(self, id=new_id)


def numbers_of(symbols: "tuple[str, ...] | list[str]") -> Numbers:
    """Atomic numbers of chemical symbols; KeyError names an unknown one."""
    return np.array([atomic_numbers[s] for s in symbols], dtype=np.uint8)


def from_ase(
    atoms: Atoms, *, id: str, system: System, origin: Mapping[str, Any] | None = None, charge: int = 0, multiplicity: int = 0
) -> Structure:
    """A Structure from ASE atoms; the cell is kept only where the atoms are periodic. What `atoms.info` holds is not read."""
    pbc = (bool(atoms.pbc[0]), bool(atoms.pbc[1]), bool(atoms.pbc[2]))
    cell = np.array(atoms.cell.array, dtype=np.float64) if any(pbc) else np.zeros((3, 3))
    numbers = np.asarray(atoms.numbers)
    if numbers.size and (int(numbers.min()) < 0 or int(numbers.max()) > 255):
        raise ValueError("atomic numbers must lie in 0..255")
    return Structure(
        id=id,
        numbers=numbers.astype(np.uint8),
        positions=np.array(atoms.positions, dtype=np.float64),
        cell=cell,
        pbc=pbc,
        system=system,
        origin=dict(origin or {}),
        charge=charge,
        multiplicity=multiplicity,
    )


def to_ase(structure: Structure) -> Atoms:
    """ASE atoms with the same numbers, positions, cell and pbc; id, system and origin go to `atoms.info`.

    So do charge and spin (the multiplicity, as fairchem and orb read it) where it is charged or has more than the lowest spin.
    """
    atoms = Atoms(numbers=structure.numbers, positions=structure.positions, cell=structure.cell, pbc=structure.pbc)
    atoms.info = {"id": structure.id, "system": structure.system, "origin": dict(structure.origin)}
    if not structure.is_plain:
        atoms.info |= {"charge": structure.charge, "spin": structure.spin_multiplicity}
    return atoms
