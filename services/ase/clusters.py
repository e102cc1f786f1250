"""Clusters: which kind is made of a task, and random compact ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from distillery.generators.generator import Task
from services.ase.carbons import saturate_carbons
from services.ase.molecular_clusters import build_molecular, can_fill, usable_molecules
from services.ase.options import ClusterOptions, Kind
from services.ase.packing import centred, push_apart
from services.ase.radii import PAULING_SOURCE, Floats, are_univalent, packing_distances
from services.ase.shapes import build_shaped, possible_shapes
from services.ase.small import SMALL, build_small

DEFAULT_KINDS: Mapping[Kind, float] = {"shaped": 0.5, "random": 0.05, "molecular": 0.45}
_LEAST_ATOMS = 2
"""Of shaped and random clusters."""
_MOST_UNIVALENT = 0.6
"""Share of a random cluster's atoms; more would be hydrogens and halogens that bind to nothing."""
_START_DENSITY = 0.6
"""Share of the sphere that the atoms' own spheres fill before they are pushed apart."""


def build_cluster(task: Task, options: ClusterOptions, rng: np.random.Generator) -> Atoms:
    """One cluster of a kind drawn by the shares; its origin is in `atoms.info`."""
    shares = possible_kinds(task, options)
    kinds, weights = list(shares), np.array(list(shares.values()))
    kind = kinds[int(rng.choice(len(kinds), p=weights / weights.sum()))]
    if kind in SMALL:
        atoms = build_small(SMALL[kind], task.elements, rng)
    elif kind == "molecular":
        atoms = build_molecular(task, options, rng)
    else:
        task = replace(task, min_atoms=max(_LEAST_ATOMS, task.min_atoms))
        atoms = build_shaped(task, options, rng) if kind == "shaped" else _build_random(task, options, rng)
        atoms = saturate_carbons(atoms, task.elements, task.max_atoms - len(atoms), rng)
    atoms.info = {"kind": kind, "formula": atoms.get_chemical_formula(), **atoms.info}
    return centred(atoms)


def possible_kinds(task: Task, options: ClusterOptions) -> dict[Kind, float]:
    """Shares above zero of the kinds that the elements and sizes allow."""
    asked = options.kinds or DEFAULT_KINDS
    return {kind: share for kind, share in asked.items() if share > 0 and why_not(kind, task, options) is None}


def why_not(kind: Kind, task: Task, options: ClusterOptions) -> str | None:
    """Why this kind can't be made of the task, or None if it can."""
    if kind in SMALL:
        fits = task.min_atoms <= SMALL[kind] <= task.max_atoms
        return None if fits else f"it has {SMALL[kind]} atoms, asked for {task.min_atoms}-{task.max_atoms}"
    if task.max_atoms < _LEAST_ATOMS:
        return "it has more than one atom"
    if kind != "molecular" and task.elements == ("C",):
        return "carbon alone leaves carbons with dangling bonds at the rim"
    if kind == "shaped" and not possible_shapes(task.elements, options):
        return f"{', '.join(options.shapes)} need an element that can be close-packed (Si, P, S, a metal) or forms a crystal"
    if kind == "molecular":
        names = usable_molecules(task.elements, options)
        if not names:
            return "no molecule is made of these elements alone"
        if not can_fill(names, task.min_atoms, task.max_atoms):
            return f"no number of these molecules has {task.min_atoms}-{task.max_atoms} atoms"
    return None


def _build_random(task: Task, options: ClusterOptions, rng: np.random.Generator) -> Atoms:
    n_atoms = int(rng.integers(task.min_atoms, task.max_atoms + 1))
    numbers = np.array([atomic_numbers[s] for s in _draw_composition(task.elements, n_atoms, options.max_elements, rng)])
    present, kinds = np.unique(numbers, return_inverse=True)
    scale = float(rng.uniform(*options.bond_scale))
    contact = packing_distances(present, scale)
    positions = push_apart(_draw_ball(np.diag(contact)[kinds] / 2, rng), kinds, contact)
    atoms = Atoms(numbers, positions=positions)
    atoms.info = {"method": "random", "bond_scale": round(scale, 4), "distance_source": PAULING_SOURCE}
    return atoms


def _draw_composition(elements: Sequence[str], n_atoms: int, max_elements: int, rng: np.random.Generator) -> list[str]:
    """Random elements in random shares, uniform over all shares in which univalent atoms are at most 60 %, where others are allowed."""
    allowed = list(elements)
    has_centres = not are_univalent(np.array([atomic_numbers[e] for e in elements])).all()
    while True:
        n_elements = int(rng.integers(1, min(max_elements, len(elements), n_atoms) + 1))
        chosen = [str(e) for e in rng.choice(allowed, n_elements, replace=False)]
        counts = rng.multinomial(n_atoms, rng.dirichlet(np.ones(n_elements)))
        symbols = [str(s) for s in rng.permutation(np.repeat(chosen, counts))]
        n_univalent = int(are_univalent(np.array([atomic_numbers[s] for s in symbols])).sum())
        if not has_centres or n_univalent <= _MOST_UNIVALENT * n_atoms:
            return symbols


def _draw_ball(radii: Floats, rng: np.random.Generator) -> Floats:
    ball = float((np.sum(radii**3) / _START_DENSITY) ** (1 / 3))
    directions = rng.normal(size=(len(radii), 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points: Floats = ball * directions * rng.random((len(radii), 1)) ** (1 / 3)
    return points
