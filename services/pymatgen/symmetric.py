"""Symmetric random crystals: a space group, Wyckoff sites for every element, and PyXtal for the lattice and coordinates."""

from functools import cache

import numpy as np
from pyxtal.crystal import random_crystal
from pyxtal.lattice import Lattice
from pyxtal.msg import VolumeError
from pyxtal.symmetry import Group

from distillery.generators.proposals import Rejected
from distillery.structures.structure import Structure, Vectors, numbers_of
from services.pymatgen.placement import PlacedSite, is_free, make_tolerances, place_on_site
from services.pymatgen.volume import volume_of_spheres

N_SPACE_GROUPS = 230
TOLERANCE = 1.6
"""PyXtal's factor on its shortest distances, each half the sum of two covalent radii."""


_LEAST_POINTS = 10
"""Points tried for the sites of an element, or twice as many as it has sites."""
LATTICES, DRAWS = 10, 2
"""Lattices tried for a crystal, and draws of all coordinates in each; with PyXtal's own 40 and 10, failing takes 5 s."""


class _BriefCrystal(random_crystal):  # type: ignore[misc]
    """PyXtal's crystal with fewer tries, and with the atoms of a site placed at once."""

    def set_crystal(self) -> None:
        self.numattempts = 0
        for _ in range(LATTICES):
            self.set_lattice(self.lattice0)
            for _ in range(DRAWS):
                sites = self._set_coords()
                if sites:
                    self.atom_sites = sites
                    return
            self.lattice.reset_matrix()

    def _set_ion_wyckoffs(self, n_atoms: int, specie: str, cell: Vectors, before: list[PlacedSite]) -> list[PlacedSite] | None:
        """Atoms of one element on the sites that were drawn for it; None if they find no room."""
        waiting, placed = list(self.sites[specie]), list[PlacedSite]()
        shortest = self.tol_matrix.get_tol(specie, specie)
        for _ in range(max(2 * len(waiting), _LEAST_POINTS)):
            new = place_on_site(self.group[waiting[0]], specie, self.lattice.generate_point(), cell, shortest)
            if new is None or not is_free(new, [*placed, *before], cell, self.tol_matrix):
                continue
            del waiting[0]
            placed.append(new)
            if not waiting:
                return placed
        return None


@cache
def _group(number: int) -> Group:
    return Group(number)


@cache
def _list_sites(number: int) -> dict[str, int]:
    """Degrees of freedom of each Wyckoff site of a space group, by its label."""
    return {wyckoff.get_label(): int(wyckoff.get_dof()) for wyckoff in _group(number)}


def draw_crystal(number: int, elements: tuple[str, ...], largest: int, rng: np.random.Generator) -> Structure:
    """A random crystal of space group `number` with at most `largest` atoms in its primitive cell; Rejected if there is none.

    The lattice has the volume of the atoms' van der Waals spheres, so that PyXtal finds room soon.
    """
    group = _group(number)
    sites = _draw_sites(group, len(elements), largest * group.cellsize(), rng)
    counts = [sum(_multiplicity(site) for site in of_element) for of_element in sites]
    volume = volume_of_spheres(np.repeat(numbers_of(elements), counts))
    rng_of_lattice, rng_of_sites = rng.spawn(2)
    try:
        lattice = Lattice(group.lattice_type, volume, random_state=rng_of_lattice)
    except VolumeError as error:
        raise Rejected("no_lattice") from error
    crystal = _BriefCrystal(
        group=group,
        species=list(elements),
        numIons=counts,
        lattice=lattice,
        sites=sites,
        tm=make_tolerances(TOLERANCE),
        random_state=rng_of_sites,
    )
    if not crystal.valid:
        raise Rejected("no_coordinates")
    return _as_structure(crystal)


def _multiplicity(site: str) -> int:
    return int(site[:-1])


def _draw_sites(group: Group, n_elements: int, largest: int, rng: np.random.Generator) -> list[list[str]]:
    """Wyckoff sites of every element, at most `largest` atoms in the conventional cell; sites without freedom once only.

    The first go to one element each, further ones to any, until a number of atoms drawn at random is reached.
    """
    labels = dict(_list_sites(group.number))
    smallest = min(map(_multiplicity, labels))
    room = int(rng.integers(min(n_elements * smallest, largest), largest + 1))
    sites: list[list[str]] = [[] for _ in range(n_elements)]
    for turn in range(largest):
        reserved = smallest * max(0, n_elements - 1 - turn)
        free = [label for label in labels if _multiplicity(label) <= room - reserved]
        if not free:
            break
        label = free[int(rng.integers(len(free)))]
        sites[turn if turn < n_elements else int(rng.integers(n_elements))].append(label)
        room -= _multiplicity(label)
        if labels[label] == 0:
            del labels[label]
    if not all(sites):
        raise Rejected("too_few_sites")
    return sites


def _as_structure(crystal: _BriefCrystal) -> Structure:
    cell = np.array(crystal.lattice.matrix, dtype=np.float64)
    fractional = np.concatenate([np.asarray(site.coords, dtype=np.float64) for site in crystal.atom_sites])
    symbols = [site.specie for site in crystal.atom_sites for _ in site.coords]
    origin = {
        "method": "symmetric",
        "drawn_space_group": int(crystal.group.number),
        "wyckoff": [f"{site.specie} {site.wp.get_label()}" for site in crystal.atom_sites],
    }
    return Structure("", numbers_of(symbols), fractional @ cell, cell, (True, True, True), "crystal", origin)
