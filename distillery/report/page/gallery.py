"""The gallery: structures as the page's viewer takes them, a few kilobytes each."""

import base64
from collections.abc import Iterable
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from numpy.typing import NDArray

from distillery.report.page.sampling import SampledStructure
from distillery.runtime.canonical_json import canonical_json
from distillery.structures.geometry import find_bonds
from distillery.structures.structure import Structure, to_ase

GALLERY_SIZE = 100
_LARGEST_NUMBER = 32000
"""Of 16 bits, in which positions travel: fine to 0.01 Å up to 320 Å."""
_LONGEST_ORIGIN = 400


def describe_gallery(groups: Iterable[tuple[str, Iterable[tuple[str, SampledStructure]]]]) -> dict[str, Any]:
    """The viewer's data: groups of structures, each with a remark, and the elements that occur."""
    shown = [(title, [(remark, drawn) for remark, drawn in members]) for title, members in groups]
    present = sorted({int(z) for _, members in shown for _, drawn in members for z in drawn.structure.numbers})
    return {
        "groups": [{"title": title, "structures": [_describe(drawn, remark) for remark, drawn in members]} for title, members in shown],
        "elements": {z: _describe_element(z) for z in present},
    }


def _describe_element(z: int) -> dict[str, Any]:
    red, green, blue = (round(255 * float(c)) for c in jmol_colors[z])
    return {"symbol": chemical_symbols[z], "colour": f"rgb({red},{green},{blue})", "radius": round(float(covalent_radii[z]), 2)}


def _describe(drawn: SampledStructure, remark: str) -> dict[str, Any]:
    structure = drawn.structure
    origin = canonical_json(dict(structure.origin))
    return {
        "id": structure.id,
        "source": drawn.source,
        "system": structure.system,
        "formula": to_ase(structure).get_chemical_formula(),
        "remark": remark,
        "energy": f"{drawn.energy / len(structure):.3f}",
        "force": f"{drawn.largest_force:.2f}",
        "origin": origin if len(origin) <= _LONGEST_ORIGIN else origin[:_LONGEST_ORIGIN] + " …",
        **_describe_geometry(structure),
        **_describe_forces(drawn),
    }


def _describe_forces(drawn: SampledStructure) -> dict[str, Any]:
    """Forces in units of `force_scale` eV/Å, where they are known."""
    if drawn.forces is None:
        return {}
    scale = max(1e-3, float(np.abs(drawn.forces).max(initial=0.0)) / _LARGEST_NUMBER)
    return {"force_scale": scale, "forces": _pack(drawn.forces.astype(np.float64) / scale)}


def _describe_geometry(structure: Structure) -> dict[str, Any]:
    """Numbers, positions, bonds (from, to, vector) and cell, lengths in units of `scale` Å, the middle at the origin."""
    ends = structure.positions.min(axis=0), structure.positions.max(axis=0)
    middle = structure.cell.sum(axis=0) / 2 if structure.is_periodic else (ends[0] + ends[1]) / 2
    positions = structure.positions - middle
    scale = max(0.01, float(np.abs(positions).max()) / _LARGEST_NUMBER)
    return {
        "scale": scale,
        "numbers": base64.b64encode(structure.numbers.tobytes()).decode(),
        "positions": _pack(positions / scale),
        "bonds": _pack(_list_bonds(structure, scale)),
        "cell": np.round(structure.cell, 3).tolist() if structure.is_periodic else None,
    }


def _list_bonds(structure: Structure, scale: float) -> NDArray[np.float64]:
    """Every bond once, shape (n_bonds, 5); the vector tells bonds that leave the cell from those within."""
    bonds = find_bonds(structure)
    once = (bonds.i < bonds.j) | ((bonds.i == bonds.j) & _is_forward(bonds.vector))
    rows: NDArray[np.float64] = np.column_stack([bonds.i, bonds.j, bonds.vector / scale])[once]
    return rows


def _is_forward(vectors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """True where the first component that is not zero is positive: one of every vector and its opposite."""
    x, y, z = np.round(vectors, 6).T
    forward: NDArray[np.bool_] = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    return forward


def _pack(values: NDArray[np.float64]) -> str:
    return base64.b64encode(np.round(values).astype("<i2").tobytes()).decode()
