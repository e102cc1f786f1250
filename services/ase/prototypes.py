"""Crystal structure types whose sites any elements may take, as space group, Wyckoff positions and axis ratios."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from ase import Atoms
from ase.spacegroup import crystal

from services.ase.radii import Floats

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Prototype:
    """A structure type.

    space_group  number in the International Tables, origin choice 1
    sites        one or more Wyckoff positions, fractional, for each sublattice
    axes         b/a, c/a, alpha, beta, gamma in degrees
    elements     the only ones it is made of; None means any
    bond         length of its bonds, Å; the sum of covalent radii if None
    """

    space_group: int
    sites: tuple[tuple[Point, ...], ...]
    axes: tuple[float, float, float, float, float] = (1, 1, 90, 90, 90)
    elements: tuple[str, ...] | None = None
    bond: float | None = None


_HEXAGONAL = (90.0, 90.0, 120.0)
_O: Point = (0, 0, 0)
_QUARTER: Point = (1 / 4, 1 / 4, 1 / 4)
_HALF: Point = (1 / 2, 1 / 2, 1 / 2)

PROTOTYPES: Mapping[str, Prototype] = {
    "zincblende": Prototype(216, ((_O,), (_QUARTER,))),
    "wurtzite": Prototype(186, (((1 / 3, 2 / 3, 0),), ((1 / 3, 2 / 3, 3 / 8),)), (1, 8**0.5 / 3**0.5, *_HEXAGONAL)),
    "rocksalt": Prototype(225, ((_O,), (_HALF,))),
    "cesiumchloride": Prototype(221, ((_O,), (_HALF,))),
    "boron-nitride": Prototype(194, (((1 / 3, 2 / 3, 1 / 4),), ((1 / 3, 2 / 3, 3 / 4),)), (1, 2.66, *_HEXAGONAL)),
    "fluorite": Prototype(225, ((_O,), (_QUARTER,))),
    "cristobalite": Prototype(227, ((_O,), ((1 / 8, 1 / 8, 1 / 8),))),
    "quartz": Prototype(154, (((0.4697, 0, 2 / 3),), ((0.4135, 0.2669, 0.7858),)), (1, 1.1, *_HEXAGONAL)),
    "rutile": Prototype(136, ((_O,), ((0.305, 0.305, 0),)), (1, 0.644, 90, 90, 90)),
    "pyrite": Prototype(205, ((_O,), ((0.385, 0.385, 0.385),))),
    "cadmium-iodide": Prototype(164, ((_O,), ((1 / 3, 2 / 3, 1 / 4),)), (1, 1.6, *_HEXAGONAL)),
    "cuprite": Prototype(224, ((_O,), (_QUARTER,))),
    "rhenium-trioxide": Prototype(221, ((_O,), ((1 / 2, 0, 0),))),
    "gold-copper": Prototype(221, ((_O,), ((0, 1 / 2, 1 / 2),))),
    "silicon-nitride": Prototype(176, (((0.174, 0.766, 1 / 4),), ((1 / 3, 2 / 3, 1 / 4), (0.321, 0.025, 1 / 4))), (1, 0.382, *_HEXAGONAL)),
    "half-heusler": Prototype(216, ((_O,), (_QUARTER,), (_HALF,))),
    "perovskite": Prototype(221, ((_HALF,), (_O,), ((1 / 2, 0, 0),))),
    "chalcopyrite": Prototype(122, ((_O,), ((0, 0, 1 / 2),), ((1 / 4, 1 / 4, 1 / 8),)), (1, 2, 90, 90, 90)),
    "graphite": Prototype(194, (((0, 0, 1 / 4), (1 / 3, 2 / 3, 1 / 4)),), (1, 2.73, *_HEXAGONAL), ("C",), bond=1.42),
    "black-phosphorus": Prototype(64, (((0, 0.1017, 0.0806),),), (3.162, 1.3207, 90, 90, 90), ("P", "As")),
}


@dataclass(frozen=True, eq=False)
class Lattice:
    """A prototype at a = 1 Å.

    atoms     the conventional cell; tags number the sublattices
    shortest  shortest distance between sublattices k and l, Å, shape (n_sublattices, n_sublattices)
    """

    atoms: Atoms
    shortest: Floats

    @property
    def n_sublattices(self) -> int:
        return len(self.shortest)


@cache
def lattice_of_prototype(name: str) -> Lattice:
    """The cell and the shortest distances of a prototype; not to be changed."""
    prototype = PROTOTYPES[name]
    basis = [site for sublattice in prototype.sites for site in sublattice]
    kinds = [k + 1 for k, sublattice in enumerate(prototype.sites) for _ in sublattice]
    b, c, *angles = prototype.axes
    atoms = crystal(kinds, basis, spacegroup=prototype.space_group, cellpar=[1, b, c, *angles])
    plain = Atoms(numbers=np.ones(len(atoms)), positions=atoms.positions, cell=atoms.cell, pbc=True, tags=atoms.numbers - 1)
    return Lattice(plain, _shortest(plain, len(prototype.sites)))


def _shortest(atoms: Atoms, n_sublattices: int) -> Floats:
    images = np.array(list(product((-1, 0, 1), repeat=3))) @ atoms.cell.array
    vectors = atoms.positions[None, :, None] - atoms.positions[:, None, None] + images
    distance = np.linalg.norm(vectors, axis=-1)
    distance[distance < 1e-6] = np.inf
    nearest, members = distance.min(axis=2), [atoms.get_tags() == k for k in range(n_sublattices)]
    return np.array([[nearest[np.ix_(these, those)].min() for those in members] for these in members])
