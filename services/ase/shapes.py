"""Clusters with facets: icosahedra, decahedra, octahedra (close-packed), and Wulff polyhedra cut from crystals."""

from collections.abc import Sequence
from functools import cache
from itertools import product

import numpy as np
from ase import Atoms
from ase.cluster import Decahedron, Icosahedron, Octahedron
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import NDArray

from distillery.generators.generator import Task
from distillery.generators.proposals import Rejected
from services.ase.crystals import LARGEST_SOLID_DENSITY, PROTOTYPE_NAMES, Crystal, can_make, draw_crystal
from services.ase.options import ClusterOptions, Shape
from services.ase.radii import (
    COVALENT,
    PAULING_SOURCE,
    REFERENCE_SOURCE,
    VALENCE,
    Floats,
    metallic_distance,
    stretching,
    touching_distances,
)
from services.ase.terminations import Stubs, cut_out, terminate, terminators_for

_LARGEST_RADIUS_RATIO = 1.5
"""Elements whose covalent radii differ by more are not mixed on one close-packed lattice."""
_MOST_ALLOYED = 4
_WHOLE = 0.5
"""Share of the close-packed clusters that are whole shapes, where one has a fitting size; others lose outer atoms."""
_BONDED = 1.4
"""Atoms within this many sums of their covalent radii hold on to one another."""
_WULFF_SHARE = 0.8
"""Share of the Wulff clusters among the shaped ones, where close-packed shapes may be made too."""
_FACETS = np.array([h for h in product((-1, 0, 1), repeat=3) if any(h)])
_MARGIN = 4.0
"""Å of crystal kept around a cluster while it is cut, so that cut bonds are seen."""
_PATTERNS = ("random", "core-shell", "janus", "layered")


def build_shaped(task: Task, options: ClusterOptions, rng: np.random.Generator) -> Atoms:
    """One shaped cluster; its origin is in `atoms.info`."""
    shapes = possible_shapes(task.elements, options)
    packed = [s for s in shapes if s != "wulff"]
    if "wulff" in shapes and (not packed or rng.random() < _WULFF_SHARE):
        return _build_wulff(task, options, rng)
    return _build_packed(packed[int(rng.integers(len(packed)))], task, options, rng)


def possible_shapes(elements: tuple[str, ...], options: ClusterOptions) -> list[Shape]:
    """The shapes asked for that these elements allow: small atoms are not close-packed, and Wulff clusters need a crystal."""
    if elements == ("C",):
        return []
    crystals = (can_make(elements, p, options.bond_scale[0]) for p in options.prototypes or PROTOTYPE_NAMES)
    allowed = {"wulff": any(crystals)}
    return [s for s in options.shapes if allowed.get(s, bool(_packable(elements)))]


def _packable(elements: Sequence[str]) -> list[str]:
    """Elements that can be close-packed at their bond length without being denser than diamond, which leaves out H B C N O and halogens."""
    return [element for element in elements if _is_packable(element)]


@cache
def _is_packable(element: str) -> bool:
    return VALENCE.get(element) != 1 and 2**0.5 / _nearest_distance([element], 1.0)[0] ** 3 <= LARGEST_SOLID_DENSITY


def _build_packed(shape: Shape, task: Task, options: ClusterOptions, rng: np.random.Generator) -> Atoms:
    symbols = _draw_alloy(task.elements, rng)
    points = _draw_points(shape, task.min_atoms, task.max_atoms, rng)
    distance, source = _nearest_distance(symbols, float(rng.uniform(*options.bond_scale)))
    pattern = str(rng.choice(_PATTERNS)) if len(symbols) > 1 else "pure"
    atoms = Atoms(_arrange(symbols, points, pattern, rng), positions=points * distance)
    atoms.info = {
        "method": shape,
        "pattern": pattern,
        "lattice": "fcc" if shape == "octahedron" else "multiply twinned fcc",
        "lattice_constant": round(distance * 2**0.5, 4),
        "lattice_source": source,
    }
    return atoms


def _draw_alloy(elements: Sequence[str], rng: np.random.Generator) -> list[str]:
    """One to four elements of like radius."""
    n_elements = int(rng.integers(1, _MOST_ALLOYED + 1))
    chosen: list[str] = []
    for candidate in rng.permutation(_packable(elements)):
        if len(chosen) < n_elements and all(_radius_ratio(str(candidate), e) <= _LARGEST_RADIUS_RATIO for e in chosen):
            chosen.append(str(candidate))
    return chosen


def _radius_ratio(a: str, b: str) -> float:
    radii = COVALENT[[atomic_numbers[a], atomic_numbers[b]]]
    return float(radii.max() / radii.min())


def _nearest_distance(symbols: Sequence[str], bond_scale: float) -> tuple[float, str]:
    """Å and its source: the mean of the metals' own distances, else the longest bond among the elements."""
    metallic = [metallic_distance(s) for s in symbols]
    known = [d for d in metallic if d is not None]
    if len(known) == len(metallic):
        return float(np.mean(known)), REFERENCE_SOURCE
    numbers = np.array([atomic_numbers[s] for s in symbols])
    return float((bond_scale * touching_distances(numbers) + stretching(numbers)).max()), PAULING_SOURCE


def _arrange(symbols: Sequence[str], points: Floats, pattern: str, rng: np.random.Generator) -> list[str]:
    """The element of every point: by chance, from the centre outwards, from side to side, or in alternating layers."""
    n_points = len(points)
    cuts = np.sort(rng.integers(1, n_points, len(symbols) - 1)) if n_points > 1 else np.zeros(len(symbols) - 1, dtype=np.int64)
    labels = np.searchsorted(cuts, np.arange(n_points), side="right")
    if pattern == "random":
        rng.shuffle(labels)
    elif pattern in ("core-shell", "janus"):
        key = np.linalg.norm(points, axis=1) if pattern == "core-shell" else points[:, 0]
        labels = labels[np.argsort(np.argsort(np.round(key, 6), kind="stable"), kind="stable")]
    elif pattern == "layered":
        heights = np.unique(np.round(points[:, 2], 3), return_inverse=True)[1]
        labels = heights.reshape(-1) % len(symbols)
    return [symbols[k] for k in labels]


@cache
def _packed_shapes(shape: Shape) -> tuple[Floats, ...]:
    """The shapes up to about 1000 atoms, positions in nearest-neighbour distances, by size."""
    found: list[Atoms] = []
    if shape == "icosahedron":
        found = [Icosahedron("Cu", k, latticeconstant=2**0.5) for k in range(2, 8)]
    elif shape == "decahedron":
        sizes = product(range(1, 7), range(1, 7), range(3))
        found = [Decahedron("Cu", p, q, r, latticeconstant=2**0.5) for p, q, r in sizes if p + q + r > 2]
    elif shape == "octahedron":
        sizes_cut = [(length, cut) for length in range(2, 12) for cut in range((length - 1) // 2 + 1)]
        found = [Octahedron("Cu", length, cut, latticeconstant=2**0.5) for length, cut in sizes_cut]
    points = [a.positions - a.positions.mean(axis=0) for a in found]
    return tuple(sorted((p for p in points if len(p) <= 1000), key=len))


def _draw_points(shape: Shape, low: int, high: int, rng: np.random.Generator) -> Floats:
    shapes = _packed_shapes(shape)
    whole = [p for p in shapes if low <= len(p) <= high]
    if whole and rng.random() < _WHOLE:
        return whole[int(rng.integers(len(whole)))]
    n_atoms = int(rng.integers(low, high + 1))
    larger = next(p for p in shapes if len(p) >= n_atoms)
    off_centre = larger + rng.normal(scale=0.1, size=3)
    kept = np.sort(np.argsort(np.linalg.norm(off_centre, axis=1), kind="stable")[:n_atoms])
    return larger[kept]


def _build_wulff(task: Task, options: ClusterOptions, rng: np.random.Generator) -> Atoms:
    crystal = draw_crystal(task.elements, options.prototypes or PROTOTYPE_NAMES, options.bond_scale, options.real, rng)
    n_atoms = int(rng.integers(task.min_atoms, task.max_atoms + 1))
    energies, centre = rng.uniform(0.8, 1.25, 3), rng.random(3)
    atoms, stubs = _cut_wulff(crystal, n_atoms, energies, centre)
    terminators = terminators_for(task.elements)
    if terminators and len(stubs) and rng.random() < options.terminated:
        n_core = max(2, round(n_atoms**2 / (n_atoms + 0.7 * len(stubs))))
        atoms, stubs = _cut_wulff(crystal, n_core, energies, centre)
        atoms = terminate(atoms, stubs, str(rng.choice(terminators)), task.max_atoms - n_core, rng)
    atoms.info |= {
        "method": "wulff",
        **crystal.origin,
        "surface_energies": dict(zip(("100", "110", "111"), energies.round(3).tolist(), strict=True)),
    }
    return atoms


def _cut_wulff(crystal: Crystal, n_atoms: int, energies: Floats, centre: Floats) -> tuple[Atoms, Stubs]:
    """The n atoms innermost by the Wulff construction (distance along each facet's normal over its energy), and the cut bonds.

    energies  of the facet families 100, 110 and 111, relative, shape (3,)
    centre    fractional coordinates in the cell, shape (3,)
    """
    radius = 1.7 * (3 * n_atoms * crystal.atoms.cell.volume / len(crystal.atoms) / (4 * np.pi)) ** (1 / 3) + 3.0
    heights = crystal.atoms.cell.volume / np.linalg.norm(np.cross(crystal.atoms.cell[[1, 2, 0]], crystal.atoms.cell[[2, 0, 1]]), axis=1)
    repeats = 2 * np.ceil(radius / heights).astype(int) + 1
    big = crystal.atoms.repeat(tuple(int(r) for r in repeats))
    big.positions -= (np.floor(repeats / 2) + centre) @ crystal.atoms.cell.array
    normals = _FACETS @ crystal.atoms.cell.reciprocal().array
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    reach = (big.positions @ normals.T / energies[np.abs(_FACETS).sum(axis=1) - 1]).max(axis=1)
    order = np.argsort(np.round(reach, 6), kind="stable")
    kept = _drop_loose(big, np.sort(order[:n_atoms]))
    if len(kept) < 2:
        raise Rejected("too_few_bonds")
    if np.linalg.norm(big.positions[kept], axis=1).max() > radius:
        raise Rejected("elongated")
    return _cut_from_region(big, kept)


def _drop_loose(big: Atoms, kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """The atoms that are still bonded to another one after the cut."""
    radii, positions = covalent_radii[big.numbers[kept]], big.positions[kept]
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    np.fill_diagonal(distances, np.inf)
    bonded: NDArray[np.int64] = kept[(distances < _BONDED * (radii[:, None] + radii[None])).any(axis=1)]
    return bonded


def _cut_from_region(big: Atoms, kept: NDArray[np.int64]) -> tuple[Atoms, Stubs]:
    """`cut_out` after atoms too far away to be bonded are dropped."""
    distance = np.linalg.norm(big.positions, axis=1)
    region = np.flatnonzero(distance <= distance[kept].max() + _MARGIN)
    nearby = Atoms(big.numbers[region], positions=big.positions[region])
    return cut_out(nearby, np.searchsorted(region, kept))
