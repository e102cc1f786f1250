"""Atoms and small molecules on a slab: a random place, a random turn, lowered to a random height."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from services.ase.molecules import ON_TOP, adsorbate_names, geometry_of, molecule_names, share_of, symbols_of
from services.ase.options import SurfaceOptions
from services.ase.packing import random_rotation, slide_to_contact
from services.ase.radii import COVALENT, VAN_DER_WAALS, Floats, are_univalent, lattice_of
from services.ase.terminations import in_plane_shifts

_UP = np.array([0.0, 0.0, 1.0])
_BONDED = (0.95, 1.2)
"""Contact of atoms and open-shell fragments, in sums of covalent radii."""
_PHYSISORBED = (0.75, 1.0)
"""Contact of closed-shell molecules, in sums of van der Waals radii."""
_ATOM_SHARE = 0.3
"""Share of the adsorbates that are single atoms, where both atoms and molecules may be used."""
_TRIES = 8
_TOP = 0.3
"""Atoms at most so far below the highest are the top, Å."""
_SAME = 1e-6
"""Å."""
_SPACING = 0.75
"""Adsorbates keep this many sums of van der Waals radii from one another and their images."""


def usable_species(elements: Sequence[str], options: SurfaceOptions) -> tuple[str, ...]:
    """Adsorbates of these elements alone, of those asked for; single atoms are nonmetals and never carbon."""
    atoms = (e for e in elements if e != "C" and lattice_of(e) in (None, "diamond"))
    names = options.species or (*atoms, *adsorbate_names())
    return tuple(name for name in names if symbols_of(name) <= set(elements))


def add_adsorbates(slab: Atoms, elements: Sequence[str], n_room: int, options: SurfaceOptions, rng: np.random.Generator) -> Atoms:
    """The slab with one or more adsorbates of at most `n_room` atoms together on its upper side, as far as there is room."""
    n_wanted = int(rng.integers(1, options.max_adsorbates + 1))
    adsorbates, done = Atoms(), list[dict[str, object]]()
    for _ in range(n_wanted):
        fitting = [s for s in usable_species(elements, options) if len(geometry_of(s)) <= n_room - len(adsorbates)]
        if not fitting:
            break
        name = _draw_species(fitting, elements, rng)
        placed = _place(slab, adsorbates, name, rng)
        if placed is None:
            continue
        adsorbate, scale, height = placed
        adsorbates = adsorbates + adsorbate
        done.append({"species": name, "contact_scale": round(scale, 4), "height": round(height, 3)})
    if done:
        slab = slab + adsorbates
        slab.info["adsorbates"] = done
    return slab


def _draw_species(fitting: Sequence[str], elements: Sequence[str], rng: np.random.Generator) -> str:
    atoms = [s for s in fitting if len(geometry_of(s)) == 1]
    molecules = [s for s in fitting if len(geometry_of(s)) > 1]
    if atoms and (not molecules or rng.random() < _ATOM_SHARE):
        return str(rng.choice(atoms))
    element = str(rng.choice([e for e in elements if any(e in symbols_of(m) for m in molecules)]))
    weights = np.array([share_of(element, m) ** 2 for m in molecules])
    return str(rng.choice(molecules, p=weights / weights.sum()))


def _place(slab: Atoms, earlier: Atoms, name: str, rng: np.random.Generator) -> tuple[Atoms, float, float] | None:
    """The adsorbate in place, its contact scale and the height of its lowest atom over the slab's top, Å; None if it finds no room.

    It touches the slab and keeps clear of the adsorbates that are there already.
    """
    molecule = geometry_of(name)
    physisorbed = name in molecule_names()
    scale = float(rng.uniform(*(_PHYSISORBED if physisorbed else _BONDED)))
    hosts = _find_hosts(slab) if name == ON_TOP else None
    for _ in range(_TRIES if hosts is None or hosts.size else 0):
        host = None if hosts is None else int(rng.choice(hosts))
        positions = _draw_pose(slab, molecule, rng) if host is None else _stand_on(slab, host, molecule)
        shift = _lower(slab, molecule, positions, scale, physisorbed)
        if not np.isfinite(shift):
            continue
        adsorbate = Atoms(molecule.numbers, positions=positions + shift * _UP)
        if not _is_crowded(slab, adsorbate, earlier) and (host is None or _is_on(slab, host, adsorbate, scale)):
            return adsorbate, scale, float(adsorbate.positions[:, 2].min() - slab.positions[:, 2].max())
    return None


def _find_hosts(slab: Atoms) -> NDArray[np.int64]:
    """The topmost atoms that can bind one more: hydrogens and halogens can't."""
    can_bind = ~are_univalent(slab.numbers)
    heights = np.where(can_bind, slab.positions[:, 2], -np.inf)
    return np.flatnonzero(can_bind & (heights > heights.max() - _TOP))


def _draw_pose(slab: Atoms, molecule: Atoms, rng: np.random.Generator) -> Floats:
    """Positions turned and shifted in the plane at random, Å."""
    turned = molecule.positions @ random_rotation(rng).T
    shifted: Floats = turned + rng.random(2) @ slab.cell.array[:2]
    return shifted


def _stand_on(slab: Atoms, host: int, molecule: Atoms) -> Floats:
    """Positions of carbon monoxide upright over an atom, carbon down, Å."""
    carbon, oxygen = molecule.positions[molecule.numbers == 6][0], molecule.positions[molecule.numbers == 8][0]
    upright = np.linalg.norm(oxygen - carbon) * (molecule.numbers == 8)[:, None] * _UP
    standing: Floats = upright + slab.positions[host] * np.array([1.0, 1.0, 0.0])
    return standing


def _lower(slab: Atoms, molecule: Atoms, positions: Floats, scale: float, physisorbed: bool) -> float:
    """How far up the molecule must be moved to touch the slab from above, Å; -inf if it falls past it."""
    shifts = np.vstack([np.zeros(3), in_plane_shifts(slab)])
    radii = np.where(np.isnan(VAN_DER_WAALS), 2 * COVALENT[: len(VAN_DER_WAALS)], VAN_DER_WAALS) if physisorbed else COVALENT
    contact = scale * (radii[molecule.numbers][:, None] + radii[slab.numbers][None])
    obstacles = (slab.positions[None] + shifts[:, None]).reshape(-1, 3)
    return slide_to_contact(positions, obstacles, np.tile(contact, len(shifts)), _UP)


def _is_on(slab: Atoms, host: int, adsorbate: Atoms, scale: float) -> bool:
    """True if the host is what stopped the carbon, not an atom beside it."""
    distance = np.linalg.norm(adsorbate.positions[adsorbate.numbers == 6][0] - slab.positions[host])
    return bool(distance <= scale * (COVALENT[6] + COVALENT[slab.numbers[host]]) + _SAME)


def _is_crowded(slab: Atoms, adsorbate: Atoms, earlier: Atoms) -> bool:
    """True if the adsorbate comes too near to earlier ones or to its own images, as in a cell that is too small for it."""
    shifts = in_plane_shifts(slab)
    return _is_near(adsorbate, adsorbate, shifts) or _is_near(adsorbate, earlier, np.vstack([np.zeros(3), shifts]))


def _is_near(one: Atoms, other: Atoms, shifts: Floats) -> bool:
    gap = other.positions[None, :, None] - one.positions[:, None, None] + shifts
    limit = _SPACING * (VAN_DER_WAALS[one.numbers][:, None] + VAN_DER_WAALS[other.numbers][None])
    return bool((np.linalg.norm(gap, axis=-1) < limit[:, :, None]).any())
