"""What the page says of a single structure in numbers: the axes of its map of structures."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillery.report.page.contact_charts import find_closest_ratio
from distillery.report.page.sampling import SampledStructure
from distillery.report.page.survey import Survey
from distillery.structures.structure import Structure

Residuals = NDArray[np.float64]
"""Energies beyond composition, eV/atom, shape (n_structures,)."""


@dataclass(frozen=True)
class Axis:
    """Something that structures can be ordered by; its title has the unit."""

    key: str
    title: str
    is_logarithmic: bool = False


AXES = (
    Axis("n_atoms", "atoms"),
    Axis("energy", "energy, eV/atom"),
    Axis("residual", "energy beyond composition, eV/atom"),
    Axis("force", "largest force, eV/Å", is_logarithmic=True),
    Axis("pressure", "pressure of bulk, GPa"),
    Axis("slab_pressure", "pressure of slabs with their vacuum, GPa"),
    Axis("shear", "von Mises stress of bulk, GPa"),
    Axis("volume", "volume of crystals, Å³/atom"),
    Axis("contact", "closest contact / sum of covalent radii"),
    Axis("charge", "total charge, e"),
    Axis("spin", "spin multiplicity, 2 S + 1"),
)


class Properties:
    """Looks up what the survey knows of some structures."""

    def __init__(self, survey: Survey, residuals: Residuals, ids: Iterable[str]) -> None:
        wanted = set(ids)
        self._rows = {id: row for row, id in enumerate(survey.join("ids").tolist()) if id in wanted}
        bulk, slabs = survey.split_slabs("pressure")
        shear, _ = survey.split_slabs("shear")
        self._known = {"residual": residuals, "pressure": bulk, "slab_pressure": slabs, "shear": shear}
        if survey.has_states:
            self._known |= {"charge": survey.join("charge"), "spin": survey.join("spin")}

    def describe(self, drawn: SampledStructure) -> dict[str, float]:
        """Its numbers by the axes' keys, to five digits; what has no meaning for it is absent."""
        structure = drawn.structure
        values: dict[str, Any] = {
            "n_atoms": len(structure),
            "energy": drawn.energy / len(structure),
            "force": drawn.largest_force,
            "volume": _find_volume(structure),
            "contact": find_closest_ratio(structure),
        }
        if (row := self._rows.get(structure.id)) is not None:
            values |= {key: known[row] for key, known in self._known.items()}
        return {key: float(f"{value:.5g}") for key, value in values.items() if np.isfinite(value)}


def _find_volume(structure: Structure) -> float:
    """Å³ an atom; NaN for all but crystals, whose cell is full of atoms."""
    return structure.volume / len(structure) if structure.system == "crystal" else float("nan")
