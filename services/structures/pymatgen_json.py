"""Structures and molecules as pymatgen writes them in JSON, without pymatgen: alone, in a list, or in entries with an energy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from distillery.generators.files.contents import RowRefused
from distillery.structures.structure import Structure
from services.structures.conversion import HEAVY_HYDROGENS, read_atoms

_WHOLE = 1e-3
"""An occupancy so near to 1 is 1."""
_IDS = ("entry_id", "material_id", "task_id", "formula_pretty")


def is_pymatgen(row: Any) -> bool:
    """Whether it is a structure, a molecule, or an entry that has one."""
    return isinstance(row, Mapping) and isinstance(_find_body(row).get("sites"), list)


def list_pymatgen(found: Any) -> list[Any] | None:
    """The rows of a file, None if the first is none; a list with anything else has rows that are refused."""
    rows = found if isinstance(found, list) else [found]
    return rows if rows and is_pymatgen(rows[0]) else None


def _find_body(row: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = row.get("structure", row.get("molecule"))
    return inner if isinstance(inner, Mapping) else row


def read_pymatgen(row: Mapping[str, Any]) -> Structure:
    """The structure, its entry's energy as its own; RowRefused where a site is not wholly one element."""
    body = _find_body(row)
    sites = body["sites"]
    symbols = [_find_element(k, site["species"]) for k, site in enumerate(sites)]
    atoms = Atoms(symbols, positions=np.array([site["xyz"] for site in sites], dtype=np.float64).reshape(-1, 3))
    if (lattice := body.get("lattice")) is not None:
        atoms.set_cell(lattice["matrix"])
        atoms.set_scaled_positions(np.array([site["abc"] for site in sites], dtype=np.float64))
        atoms.pbc = lattice.get("pbc", (True, True, True))
    if isinstance(energy := row.get("energy", body.get("energy")), int | float):
        atoms.calc = SinglePointCalculator(atoms, energy=float(energy))
    state = {"charge": body.get("charge"), "spin_multiplicity": body.get("spin_multiplicity")}
    known = {name: str(row[name]) for name in _IDS if row.get(name) is not None}
    return read_atoms(atoms, {**known, **{name: value for name, value in state.items() if value is not None}})


def _find_element(site: int, species: Sequence[Mapping[str, Any]]) -> str:
    """The only element of a site."""
    occupied = [one for one in species if one["occu"]]
    if len({one["element"] for one in occupied}) != 1 or abs(sum(one["occu"] for one in occupied) - 1) > _WHOLE:
        raise RowRefused("disordered", f"site {site} is {[(one['element'], one['occu']) for one in occupied] or 'vacant'}")
    symbol = str(occupied[0]["element"])
    return HEAVY_HYDROGENS.get(symbol, symbol)
