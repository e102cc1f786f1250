"""The gallery: structures as the page's viewer takes them, a few kilobytes each, and what the map of structures puts on its axes."""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.data import chemical_symbols, covalent_radii
from ase.data.colors import jmol_colors
from numpy.typing import NDArray

from distillery.report.page.properties import AXES, Properties
from distillery.report.page.sampling import SampledStructure
from distillery.runtime.canonical_json import canonical_json
from distillery.structures.geometry import find_bonds
from distillery.structures.structure import Structure, to_ase

LARGEST_GALLERY = 6_000_000
"""Bytes that structures may take in the page; outliers come first, then as many drawn at random as fit."""
_LARGEST_NUMBER = 32000
"""Of 16 bits, in which positions travel: fine to 0.01 Å up to 320 Å."""
_LONGEST_ORIGIN = 400


@dataclass(frozen=True)
class Gallery:
    """The structures that the page carries.

    data      for the viewer: structures, the elements that occur, the axes of the map
    n_random  structures drawn at random
    n_wanted  so many of these were wanted; more than `n_random` if no more fit
    n_bytes   of the structures in the page
    """

    data: dict[str, Any]
    n_random: int
    n_wanted: int
    n_bytes: int

    @property
    def n_carried(self) -> int:
        """Structures, those drawn at random and outliers together."""
        return len(self.data["structures"])


def describe_gallery(
    drawn: Sequence[SampledStructure],
    outliers: Iterable[tuple[str, SampledStructure]],
    properties: Properties,
    limit: int = LARGEST_GALLERY,
) -> Gallery:
    """The gallery of structures drawn at random and of outliers, each with its remark; nobody comes twice."""
    own = {outlier.structure.id: (outlier, remark) for remark, outlier in outliers}
    named = {id: _describe(outlier, remark, properties) for id, (outlier, remark) in own.items()}
    n_bytes, at_random = sum(map(_count_bytes, named.values())), list[dict[str, Any]]()
    for one in drawn:
        entry = named.get(one.structure.id) or _describe(one, "", properties)
        n_bytes += 0 if entry["id"] in named else _count_bytes(entry)
        if n_bytes > limit and entry["id"] not in named:
            n_bytes -= _count_bytes(entry)
            break
        at_random.append(entry)
    chosen = {entry["id"] for entry in at_random}
    structures = [*at_random, *(entry for id, entry in named.items() if id not in chosen)]
    elements = _describe_elements(drawn, [outlier for outlier, _ in own.values()])
    data = {"structures": structures, "elements": elements, "axes": _list_axes(structures)}
    return Gallery(data, len(at_random), len(drawn), n_bytes)


def _count_bytes(entry: dict[str, Any]) -> int:
    return len(json.dumps(entry, ensure_ascii=False).encode())


def _list_axes(structures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The axes of which at least two structures have a value."""
    counts = {axis.key: sum(axis.key in one["values"] for one in structures) for axis in AXES}
    return [{"key": axis.key, "title": axis.title, "log": axis.is_logarithmic} for axis in AXES if counts[axis.key] > 1]


def _describe_elements(*groups: Sequence[SampledStructure]) -> dict[int, Any]:
    present = sorted({int(z) for group in groups for one in group for z in one.structure.numbers})
    return {z: _describe_element(z) for z in present}


def _describe_element(z: int) -> dict[str, Any]:
    red, green, blue = (round(255 * float(c)) for c in jmol_colors[z])
    return {"symbol": chemical_symbols[z], "colour": f"rgb({red},{green},{blue})", "radius": round(float(covalent_radii[z]), 2)}


def _describe(drawn: SampledStructure, remark: str, properties: Properties) -> dict[str, Any]:
    structure = drawn.structure
    origin = canonical_json(dict(structure.origin))
    return {
        "id": structure.id,
        "source": drawn.source,
        "system": structure.system,
        "formula": to_ase(structure).get_chemical_formula(),
        "remark": remark,
        "energy": round(drawn.energy, 6),
        "values": properties.describe(drawn),
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
        "pbc": [bool(periodic) for periodic in structure.pbc],
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
