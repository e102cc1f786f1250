"""Energy outliers: energies that lie too far off a fit by elements to be those of their structures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.element_energies import Floats, add_charges, find_scale, fit_elements
from distillery.planning.measures import spread_counts
from distillery.planning.part_measures import PartMeasures

_DEVIATIONS = 10.0
_LEAST_LIMIT = 0.5
"""eV/atom: however alike a source's structures are, this much may come of bonds."""
LEAST_ROWS = 4
"""Structures for every element, below which a fit tells nothing."""


def find_energy_outliers(parts: Iterable[tuple[str, PartMeasures, Sequence[int]]], largest: Mapping[str, float]) -> dict[str, list[int]]:
    """The structures whose energies lie too far off their source's fit, by part.

    A source with too few structures for a fit of its own is judged by a fit of all sources together.

    parts    name, measures, and which structures of it are asked about, by their index in it; taken one by one
    largest  eV/atom that no energy of a source may be off
    """
    energies = gather_energies(parts)
    if not energies.rows:
        return {}
    flagged = flag_by_source(energies.sources, list(map(len, energies.rows)), energies.values, energies.counts, largest)[0]
    found: dict[str, list[int]] = {}
    ends = np.cumsum([len(rows) for rows in energies.rows])
    for k in np.flatnonzero(flagged).tolist():
        piece = int(np.searchsorted(ends, k, "right"))
        row = energies.rows[piece][k - int(ends[piece]) + len(energies.rows[piece])]
        found.setdefault(energies.parts[piece], []).append(int(row))
    return found


def flag_by_source(
    names: Sequence[str], lengths: Sequence[int], energies: Floats, counts: NDArray[np.integer], largest: Mapping[str, float]
) -> tuple[NDArray[np.bool_], Floats]:
    """Which energies are outliers, and how far all are off, eV/atom; every source by its own fit where it has structures enough.

    An energy is an outlier beyond ten robust deviations of its fit, and in any case beyond `largest`: so random energies, which are
    spread widely, hide behind nothing. Where all together are too few for a fit, none is.

    names, lengths  of each run of structures its source, and how many they are; n in all
    """
    pooled = _fit_residuals(energies, counts)
    flagged, residuals = np.zeros(len(energies), bool), np.zeros(len(energies)) if pooled is None else pooled
    different = list(dict.fromkeys(names))
    source_of = np.repeat([different.index(name) for name in names], lengths)
    for k, name in enumerate(different):
        own = np.flatnonzero(source_of == k)
        fit = _fit_residuals(energies[own], counts[own])
        residuals[own] = residuals[own] if fit is None else fit
        scale = find_scale(residuals if fit is None else fit)
        flagged[own] = np.abs(residuals[own]) > min(largest[name], max(_DEVIATIONS * scale, _LEAST_LIMIT))
    return flagged, residuals


def _fit_residuals(energies: Floats, counts: NDArray[np.integer]) -> Floats | None:
    """Residuals of a fit by the elements that occur, eV/atom; None where there are too few structures to tell."""
    present = counts[:, counts.any(axis=0)]
    return fit_elements(energies, present)[1] if len(energies) >= LEAST_ROWS * max(present.shape[1], 1) else None


@dataclass(frozen=True)
class Energies:
    """Energies of the structures of some parts, in order.

    parts, sources, rows  of each part that has any: its name, its source, and the indices of its structures
    values   eV, shape (n,)
    counts   atoms of each element that occurs, shape (n, k); where some are charged, charges of either sign as two elements more
    """

    parts: list[str]
    sources: list[str]
    rows: list[NDArray[np.int64]]
    values: Floats
    counts: NDArray[np.integer]


def gather_energies(parts: Iterable[tuple[str, PartMeasures, Sequence[int]]]) -> Energies:
    """The energies of the structures with these indices in their parts."""
    names, sources, rows = list[str](), list[str](), list[NDArray[np.int64]]()
    values, counts, charges = [np.zeros(0)], list[tuple[NDArray[np.uint16], NDArray[np.int64]]](), [np.zeros(0, np.int32)]
    for name, part, kept in parts:
        chosen = np.array(kept, np.int64)
        counts.append((part.counts[chosen], part.numbers))
        if len(chosen):
            names.append(name)
            sources.append(part.source)
            rows.append(chosen)
            values.append(part.energies[chosen])
            charges.append(part.charges[chosen])
    numbers = np.unique(np.concatenate([np.zeros(0, np.int64), *(own for _, own in counts)]))
    wide = np.concatenate([np.zeros((0, len(numbers)), np.uint16), *(spread_counts(own, of, numbers) for own, of in counts)])
    return Energies(names, sources, rows, np.concatenate(values), add_charges(wide, np.concatenate(charges)))
