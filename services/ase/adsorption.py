"""Atoms and small molecules on a slab: a random place, a random turn, lowered to a random height."""

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from services.ase.molecules import ON_TOP, adsorbate_names, geometry_of, molecule_names, share_of, symbols_of
from services.ase.options import SurfaceOptions
from services.ase.packing import random_rotation, slide_to_contact
from services.ase.radii import COVALENT, VAN_DER_WAALS, Floats, lattice_of
from services.ase.terminations import in_plane_shifts

_UP = np.array([0.0, 0.0, 1.0])
_BONDED = (0.95, 1.2)
"""Contact of atoms and open-shell fragments, in sums of covalent radii."""
_PHYSISORBED = (0.75, 1.0)
"""Contact of closed-shell molecules, in sums of van der Waals radii."""
_ATOM_SHARE = 0.3
"""Share of the adsorbates that are single atoms, where both atoms and molecules may be used."""
_TRIES = 8
_SPACING = 0.75
"""Adsorbates keep this many sums of van der Waals radii from one another's images."""


def usable_species(elements: Sequence[str], options: SurfaceOptions) -> tuple[str, ...]:
    """Adsorbates of these elements alone, of those asked for; single atoms are nonmetals and never carbon."""
    atoms = (e for e in elements if e != "C" and lattice_of(e) in (None, "diamond"))
    names = options.species or (*atoms, *adsorbate_names())
    return tuple(name for name in names if symbols_of(name) <= set(elements))


def add_adsorbates(slab: Atoms, elements: Sequence[str], n_room: int, options: SurfaceOptions, rng: np.random.Generator) -> Atoms:
    """The slab with one or more adsorbates of at most `n_room` atoms together on its upper side, as far as there is room."""
    n_wanted = int(rng.integers(1, options.max_adsorbates + 1))
    done: list[dict[str, object]] = []
    for _ in range(n_wanted):
        fitting = [s for s in usable_species(elements, options) if len(geometry_of(s)) <= n_room]
        if not fitting:
            break
        name = _draw_species(fitting, elements, rng)
        placed = _place(slab, name, rng)
        if placed is None:
            continue
        adsorbate, scale, height = placed
        slab = slab + adsorbate
        n_room -= len(adsorbate)
        done.append({"species": name, "contact_scale": round(scale, 4), "height": round(height, 3)})
    if done:
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


def _place(slab: Atoms, name: str, rng: np.random.Generator) -> tuple[Atoms, float, float] | None:
    """The adsorbate in place, its contact scale and the height of its lowest atom over the slab's top, Å; None if it finds no room."""
    molecule = geometry_of(name)
    physisorbed = name in molecule_names()
    scale = float(rng.uniform(*(_PHYSISORBED if physisorbed else _BONDED)))
    top = float(slab.positions[:, 2].max())
    for _ in range(_TRIES):
        positions = _draw_pose(slab, name, rng)
        shift = _lower(slab, molecule, positions, scale, physisorbed)
        if not np.isfinite(shift):
            continue
        adsorbate = Atoms(molecule.numbers, positions=positions + shift * _UP)
        if not _meets_image(slab, adsorbate):
            return adsorbate, scale, float(adsorbate.positions[:, 2].min()) - top
    return None


def _draw_pose(slab: Atoms, name: str, rng: np.random.Generator) -> Floats:
    """Positions turned and shifted in the plane, Å; carbon monoxide stands on an atom of the top, carbon down."""
    molecule = geometry_of(name)
    if name != ON_TOP:
        turned = molecule.positions @ random_rotation(rng).T
        point = rng.random(2) @ slab.cell.array[:2]
        shifted: Floats = turned + point
        return shifted
    heights = slab.positions[:, 2]
    below = slab.positions[int(rng.choice(np.flatnonzero(heights > heights.max() - 0.3)))]
    carbon, oxygen = molecule.positions[molecule.numbers == 6][0], molecule.positions[molecule.numbers == 8][0]
    upright = np.linalg.norm(oxygen - carbon) * (molecule.numbers == 8)[:, None] * _UP
    standing: Floats = upright + below * np.array([1.0, 1.0, 0.0])
    return standing


def _lower(slab: Atoms, molecule: Atoms, positions: Floats, scale: float, physisorbed: bool) -> float:
    shifts = np.vstack([np.zeros(3), in_plane_shifts(slab)])
    near_top = slab.positions[:, 2] > slab.positions[:, 2].max() - 6.0
    obstacles = (slab.positions[near_top][None] + shifts[:, None]).reshape(-1, 3)
    numbers = np.tile(slab.numbers[near_top], len(shifts))
    radii = np.where(np.isnan(VAN_DER_WAALS), 2 * COVALENT[: len(VAN_DER_WAALS)], VAN_DER_WAALS) if physisorbed else COVALENT
    contact = scale * (radii[molecule.numbers][:, None] + radii[numbers][None])
    return slide_to_contact(positions, obstacles, contact, _UP)


def _meets_image(slab: Atoms, adsorbate: Atoms) -> bool:
    """True if the adsorbate comes too near to its own images, as in a cell that is too small for it."""
    shifts = in_plane_shifts(slab)
    gap = adsorbate.positions[None, :, None] - adsorbate.positions[:, None, None] + shifts
    radii = VAN_DER_WAALS[adsorbate.numbers]
    limit = _SPACING * (radii[:, None] + radii[None])
    return bool((np.linalg.norm(gap, axis=-1).min(axis=2) < limit).any())
