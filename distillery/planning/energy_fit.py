"""Energy outliers: energies that lie too far off a fit by elements to be those of their structures."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.element_energies import Floats, add_charges, find_scale, fit_elements
from distillery.planning.measures import PartMeasures

_DEVIATIONS = 10.0
_LEAST_LIMIT = 0.5
"""eV/atom: however alike a source's structures are, this much may come of bonds."""
LEAST_ROWS = 4
"""Structures for every element, below which a fit tells nothing."""


def find_energy_outliers(
    parts: Mapping[str, PartMeasures], kept: Mapping[str, Sequence[int]], largest: Mapping[str, float]
) -> dict[str, list[int]]:
    """The structures whose energies lie too far off their source's fit, by part.

    A source with too few structures for a fit of its own is judged by a fit of all sources together.

    kept     which structures of each part are asked about, by their index in it
    largest  eV/atom that no energy of a source may be off
    """
    rows = [(part, row) for part in kept for row in kept[part]]
    if not rows:
        return {}
    names = np.array([parts[part].source for part, _ in rows], dtype=object)
    energies, counts = gather_energies(parts, kept)
    flagged = flag_by_source(names, energies, counts, largest)[0]
    found: dict[str, list[int]] = {}
    for k in np.flatnonzero(flagged):
        found.setdefault(rows[k][0], []).append(rows[k][1])
    return found


def flag_by_source(
    names: NDArray[np.object_], energies: Floats, counts: NDArray[np.integer], largest: Mapping[str, float]
) -> tuple[NDArray[np.bool_], Floats]:
    """Which energies are outliers, and how far all are off, eV/atom; every source by its own fit where it has structures enough.

    An energy is an outlier beyond ten robust deviations of its fit, and in any case beyond `largest`: so random energies, which are
    spread widely, hide behind nothing. Where all together are too few for a fit, none is.

    names  source of each structure, shape (n,)
    """
    pooled = _fit_residuals(energies, counts)
    flagged, residuals = np.zeros(len(energies), bool), np.zeros(len(energies)) if pooled is None else pooled
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        fit = _fit_residuals(energies[own], counts[own])
        residuals[own] = residuals[own] if fit is None else fit
        scale = find_scale(residuals if fit is None else fit)
        flagged[own] = np.abs(residuals[own]) > min(largest[name], max(_DEVIATIONS * scale, _LEAST_LIMIT))
    return flagged, residuals


def _fit_residuals(energies: Floats, counts: NDArray[np.integer]) -> Floats | None:
    """Residuals of a fit by the elements that occur, eV/atom; None where there are too few structures to tell."""
    present = counts[:, counts.any(axis=0)]
    return fit_elements(energies, present)[1] if len(energies) >= LEAST_ROWS * max(present.shape[1], 1) else None


def gather_energies(parts: Mapping[str, PartMeasures], kept: Mapping[str, Sequence[int]]) -> tuple[Floats, NDArray[np.integer]]:
    """Energies, eV, and atoms of each element that occurs of the structures that are kept, in order: shapes (n,) and (n, k).

    Where some are charged, charges of either sign count as two elements more.
    """
    numbers = np.unique(np.concatenate([np.zeros(0, np.int64), *(part.numbers for part in parts.values())]))
    energies, counts = [np.zeros(0)], [np.zeros((0, len(numbers)), np.uint16)]
    charges = [np.zeros(0, np.int64)]
    for name, rows in kept.items():
        part, chosen = parts[name], np.array(rows, np.int64)
        wide = np.zeros((len(chosen), len(numbers)), np.uint16)
        wide[:, np.searchsorted(numbers, part.numbers)] = part.counts[chosen]
        energies.append(part.energies[chosen])
        counts.append(wide)
        charges.append(part.charges[chosen])
    return np.concatenate(energies), add_charges(np.concatenate(counts), np.concatenate(charges))
