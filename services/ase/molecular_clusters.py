"""Clusters of molecules, packed one by one at van der Waals contact."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from ase import Atoms

from distillery.generators.generator import Task
from distillery.generators.proposals import Rejected
from services.ase.molecules import geometry_of, molecule_names, share_of, symbols_of
from services.ase.options import ClusterOptions
from services.ase.packing import random_direction, random_rotation, slide_to_contact
from services.ase.radii import VAN_DER_WAALS, Floats

_TRIES = 12
"""Directions and orientations tried for each molecule; the one that ends nearest to the centre stays."""


def build_molecular(task: Task, options: ClusterOptions, rng: np.random.Generator) -> Atoms:
    """One molecular cluster; its origin is in `atoms.info`."""
    species = _draw_species(task, options, rng)
    names = _draw_names(species, task.min_atoms, task.max_atoms, rng)
    scale = float(rng.uniform(*options.contact_scale))
    atoms = _pack(names, scale, rng)
    atoms.info = {
        "method": "molecular",
        "molecules": {name: names.count(name) for name in sorted(set(names))},
        "geometry_source": "ase.collections.g2",
        "contact_scale": round(scale, 4),
    }
    return atoms


def usable_molecules(elements: Sequence[str], options: ClusterOptions) -> tuple[str, ...]:
    """The molecules of these elements alone, of those asked for."""
    return tuple(name for name in options.molecules or molecule_names() if symbols_of(name) <= set(elements))


def can_fill(names: Sequence[str], low: int, high: int) -> bool:
    """True if some of these molecules have between `low` and `high` atoms together."""
    reachable = _reachable(tuple(sorted({len(geometry_of(name)) for name in names})), high)
    return any(reachable[low : high + 1])


@cache
def _reachable(sizes: tuple[int, ...], high: int) -> tuple[bool, ...]:
    """Which numbers of atoms, 0 to high, are sums of the sizes."""
    reachable = [True] + [False] * high
    for n_atoms in range(1, high + 1):
        reachable[n_atoms] = any(n_atoms >= size and reachable[n_atoms - size] for size in sizes)
    return tuple(reachable)


def _draw_species(task: Task, options: ClusterOptions, rng: np.random.Generator) -> list[str]:
    """One or more kinds of molecules, each drawn for an element that it is rich in, so that no element prevails."""
    usable = usable_molecules(task.elements, options)
    present = [e for e in task.elements if any(e in symbols_of(name) for name in usable)]
    chosen: list[str] = []
    for _ in range(int(rng.integers(1, options.max_species + 1))):
        element = str(rng.choice(present))
        weights = np.array([share_of(element, name) ** 2 for name in usable])
        chosen.append(str(rng.choice(usable, p=weights / weights.sum())))
    if not can_fill(chosen, task.min_atoms, task.max_atoms):
        raise Rejected("size")
    return sorted(set(chosen))


def _draw_names(species: Sequence[str], low: int, high: int, rng: np.random.Generator) -> list[str]:
    """Molecules in random shares whose numbers of atoms add up to a random reachable size."""
    sizes = [len(geometry_of(name)) for name in species]
    reachable = _reachable(tuple(sorted(set(sizes))), high)
    left = int(rng.choice([n for n in range(low, high + 1) if reachable[n]]))
    shares = rng.dirichlet(np.ones(len(species)))
    names: list[str] = []
    while left:
        fitting = np.array([left >= size and reachable[left - size] for size in sizes])
        weights = np.where(fitting, shares + 1e-9, 0.0)
        pick = int(rng.choice(len(species), p=weights / weights.sum()))
        names.append(species[pick])
        left -= sizes[pick]
    return names


def _pack(names: Sequence[str], scale: float, rng: np.random.Generator) -> Atoms:
    packed = Atoms()
    for name in names:
        molecule = geometry_of(name)
        middle = packed.positions.mean(axis=0) if len(packed) else np.zeros(3)
        trials = [_slide_in(molecule, packed, scale, rng) for _ in range(_TRIES if len(packed) else 1)]
        nearest = min(trials, key=lambda positions: float(np.linalg.norm(positions.mean(axis=0) - middle)))
        packed += Atoms(molecule.numbers, positions=nearest)
    return packed


def _slide_in(molecule: Atoms, packed: Atoms, scale: float, rng: np.random.Generator) -> Floats:
    """The molecule's positions, turned at random and slid towards the centre until it touches, Å."""
    turned: Floats = molecule.positions @ random_rotation(rng).T
    if not len(packed):
        return turned
    direction = random_direction(rng)
    contact = scale * (VAN_DER_WAALS[molecule.numbers][:, None] + VAN_DER_WAALS[packed.numbers][None])
    middle: Floats = packed.positions.mean(axis=0)
    shift = slide_to_contact(turned + middle, packed.positions, contact, direction)
    slid: Floats = turned + middle + max(shift, 0.0) * direction
    return slid
