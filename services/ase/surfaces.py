"""Slabs of general Miller indices, with vacuum, saturated bonds and adsorbates."""

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.build import surface
from ase.geometry import minkowski_reduce
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from distillery.generators.generator import Task
from distillery.generators.proposals import Rejected
from distillery.structures.geometry import find_bonds
from distillery.structures.structure import from_ase
from services.ase.adsorption import add_adsorbates, usable_species
from services.ase.carbons import saturate_carbons
from services.ase.crystals import PROTOTYPE_NAMES, can_make, draw_crystal
from services.ase.options import SurfaceOptions
from services.ase.radii import Floats
from services.ase.terminations import cut_out, terminate, terminators_for

Miller = tuple[int, int, int]

_TRIES = 12
"""Crystals and Miller indices tried until a slab has a fitting size."""
_MARGIN = 4.0
"""Å of crystal kept on both sides of a slab while it is cut, so that cut bonds are seen."""
_SAME_PLANE = 0.02
"""Å."""
_LARGEST_ASPECT = 2.5
"""Ratio of the in-plane lengths."""
_LARGEST_REPEAT = 16
_BARE = (0.6, 0.9)
"""A slab that gets terminations or adsorbates starts with at least and at most these shares of the range's ends."""
_RATTLE_ALLOWANCE = 10.0
"""Vacuum is widened by this many times the rattle asked for: five standard deviations on each side."""


@dataclass(frozen=True)
class _Cut:
    """Planes start to stop (not included) of a stack, repeated a and b times."""

    n_atoms: int
    repeats: tuple[int, int]
    start: int
    stop: int


def build_surface(task: Task, options: SurfaceOptions, rng: np.random.Generator) -> Atoms:
    """One slab; its origin is in `atoms.info`. Rejected("size") if none of a few had a fitting number of atoms."""
    for _ in range(_TRIES):
        slab = _try_surface(task, options, rng)
        if slab is not None and task.min_atoms <= len(slab) <= task.max_atoms:
            rattle = task.perturb.rattle if task.perturb.share > 0 else 0.0
            return _in_vacuum(slab, options.vacuum + _RATTLE_ALLOWANCE * rattle)
    raise Rejected("size")


def usable_prototypes(elements: tuple[str, ...], options: SurfaceOptions) -> list[str]:
    """The prototypes that some choice of the elements gives, of those asked for."""
    return [p for p in options.prototypes or PROTOTYPE_NAMES if can_make(elements, p, options.bond_scale[0], molecular=True)]


def _try_surface(task: Task, options: SurfaceOptions, rng: np.random.Generator) -> Atoms | None:
    elements = task.elements
    crystal = draw_crystal(elements, options.prototypes or PROTOTYPE_NAMES, options.bond_scale, options.real, rng, molecular=True)
    miller = _draw_miller(options.max_index, rng)
    terminators = terminators_for(elements) if rng.random() < options.terminated else []
    has_adsorbates = rng.random() < options.adsorbates and bool(usable_species(elements, options))
    stack = _stack(crystal.atoms, miller, options.thickness[1])
    heights, planes = _planes_of(_heights_of_molecules(stack) if crystal.is_molecular else stack.positions[:, 2])
    cut = _draw_cut(stack, heights, planes, task, options, bool(terminators) or has_adsorbates, rng)
    if cut is None:
        return None
    big = stack.repeat((*cut.repeats, 1))
    plane_of = np.tile(planes, cut.repeats[0] * cut.repeats[1])
    slab, stubs = cut_out(big, np.flatnonzero((plane_of >= cut.start) & (plane_of < cut.stop)))
    if terminators and len(stubs):
        slab = terminate(slab, stubs, str(rng.choice(terminators)), task.max_atoms - len(slab), rng)
    slab = saturate_carbons(slab, elements, task.max_atoms - len(slab), rng)
    slab.info |= {"termination": None} if "termination" not in slab.info else {}
    slab.info |= {
        "method": "slab",
        **crystal.origin,
        "miller": list(miller),
        "layers": cut.stop - cut.start,
        "repeats": list(cut.repeats),
        "thickness": round(float(heights[cut.stop - 1] - heights[cut.start]), 3),
    }
    if has_adsorbates:
        slab = add_adsorbates(slab, elements, task.max_atoms - len(slab), options, rng)
    return slab


def _draw_miller(max_index: int, rng: np.random.Generator) -> Miller:
    """Uniform over all indices up to `max_index` in size, without common divisors."""
    while True:
        h, k, l = (int(x) for x in rng.integers(-max_index, max_index + 1, 3))  # noqa: E741
        if np.gcd.reduce([h, k, l]) == 1:
            return h, k, l


def _stack(cell: Atoms, miller: Miller, thickness: float) -> Atoms:
    """Enough layers of the crystal, z along the normal, the in-plane vectors as short as can be, with vacuum."""
    height = float(surface(cell, miller, 1, periodic=True).cell.lengths()[2])
    n_layers = int(np.ceil((thickness + 2 * _MARGIN) / height)) + 2
    stack: Atoms = surface(cell, miller, n_layers, periodic=True)
    stack.info = {}
    stack.set_cell(minkowski_reduce(stack.cell, pbc=(True, True, False))[0])
    stack.wrap(pbc=(True, True, False))
    stack.cell[2] = (0, 0, float(np.ptp(stack.positions[:, 2])) + 4 * _MARGIN)
    stack.pbc = True
    return stack


def _heights_of_molecules(stack: Atoms) -> Floats:
    """For every atom the mean height of its molecule, Å, so that a cut leaves molecules whole."""
    bonds = find_bonds(from_ase(stack, id="", system="surface"))
    graph = coo_array((np.ones(len(bonds.i)), (bonds.i, bonds.j)), shape=(len(stack), len(stack)))
    molecules = connected_components(graph, directed=False)[1]
    heights: Floats = (np.bincount(molecules, stack.positions[:, 2]) / np.bincount(molecules))[molecules]
    return heights


def _planes_of(z: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The planes' heights from the bottom up, Å, and the plane of every atom, by the atoms' heights."""
    order = np.argsort(z, kind="stable")
    steps = np.diff(z[order], prepend=z[order[0]]) > _SAME_PLANE
    planes = np.empty(len(z), dtype=np.int64)
    planes[order] = np.cumsum(steps)
    heights: Floats = np.array([z[planes == k].mean() for k in range(int(planes.max()) + 1)])
    return heights, planes


def _draw_cut(
    stack: Atoms,
    heights: Floats,
    planes: NDArray[np.int64],
    task: Task,
    options: SurfaceOptions,
    is_decorated: bool,
    rng: np.random.Generator,
) -> _Cut | None:
    """A thickness and in-plane repeats whose size is near one drawn evenly from the range; None if there is none."""
    low, high = task.min_atoms, task.max_atoms
    if is_decorated:
        low, high = max(1, int(_BARE[0] * low)), max(1, int(_BARE[1] * high))
    start = int(rng.choice(np.flatnonzero((heights >= heights[0] + _MARGIN) & (heights < heights[-1] - _MARGIN - options.thickness[1]))))
    depth = heights - heights[start]
    stops = np.flatnonzero((depth >= options.thickness[0]) & (depth <= options.thickness[1])) + 1
    below = np.concatenate([[0], np.cumsum(np.bincount(planes))])
    fitting = [
        _Cut(n_atoms, repeats, start, int(stop))
        for repeats in _compact_repeats(stack, options.min_length)
        for stop in stops
        if low <= (n_atoms := int(below[stop] - below[start]) * repeats[0] * repeats[1]) <= high
    ]
    if not fitting:
        return None
    wanted = int(rng.integers(low, high + 1))
    misfit = np.array([abs(cut.n_atoms - wanted) for cut in fitting])
    near = np.flatnonzero(misfit <= max(0.05 * wanted, float(misfit.min())))
    return fitting[int(rng.choice(near))]


def _compact_repeats(stack: Atoms, min_length: float) -> list[tuple[int, int]]:
    a, b = stack.cell.lengths()[:2]
    every = [(i, j) for i in range(1, _LARGEST_REPEAT + 1) for j in range(1, _LARGEST_REPEAT + 1)]
    return [(i, j) for i, j in every if min(i * a, j * b) >= min_length and max(i * a, j * b) <= _LARGEST_ASPECT * min(i * a, j * b)]


def _in_vacuum(slab: Atoms, vacuum: float) -> Atoms:
    """The slab in the middle of a cell with this much vacuum along c, Å."""
    z = slab.positions[:, 2]
    slab.cell[2] = (0, 0, float(np.ptp(z)) + vacuum)
    slab.positions[:, 2] += vacuum / 2 - float(z.min())
    slab.wrap(pbc=(True, True, False))
    slab.info = {"formula": slab.get_chemical_formula(), "vacuum": round(vacuum, 3), **slab.info}
    return slab
