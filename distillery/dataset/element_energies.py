"""Energies of the elements: one each by a robust fit of all structures (E0s for trainers), and the teacher's of isolated atoms."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from numpy.typing import NDArray

from distillery.dataset.layout import open_dataset

Floats = NDArray[np.float64]
FITTED, ISOLATED = "fitted_energies", "isolated_atom_energies"
"""Attributes of the group `metadata`: JSON, eV by chemical symbol."""
_STEPS = 30
_HUBER = 1.345
"""Residuals beyond so many deviations count less (Huber 1964: 95 % efficient for Gaussian ones)."""
_LEAST_SCALE = 1e-3
_MOST_ROWS, _OF_EACH_ELEMENT = 20_000, 500
"""Structures of a fit; their errors are far below the spread of what is fitted."""
_BLOCK = 4096
"""Structures whose elements are counted at once."""
_SINGULAR = 1e-12
"""Of the largest eigenvalue of the normal equations: combinations of elements below it are not told apart by the structures."""


@dataclass(frozen=True)
class ElementEnergies:
    """Energies of one atom of each element, eV, by chemical symbol in the order of atomic numbers.

    fitted    of every element of the dataset: what its energies are best explained by, single atoms left out; what a trainer
              subtracts (E0s). Where elements only occur in fixed ratios, the smallest ones that do are taken
    isolated  the teacher's energies of single neutral atoms; of elements that it has no label for, or whose atoms it was not
              asked for, there is none
    """

    fitted: Mapping[str, float]
    isolated: Mapping[str, float]


def read_element_energies(path: Path | str) -> ElementEnergies:
    """The energies in a dataset; those of a file that was written without them are fitted now. InvalidRequest if it is no dataset."""
    with open_dataset(path) as file:
        noted = file["metadata"].attrs if "metadata" in file else {}
        isolated = json.loads(noted[ISOLATED]) if ISOLATED in noted else {}
        fitted = json.loads(noted[FITTED]) if FITTED in noted else fit_file(file)
        return ElementEnergies(_in_order(fitted), _in_order(isolated))


def _in_order(energies: Mapping[str, float]) -> dict[str, float]:
    return {symbol: energies[symbol] for symbol in sorted(energies, key=atomic_numbers.__getitem__)}


def describe_element_energies(path: Path | str) -> dict[str, dict[str, float]]:
    """The same under the names that they have in the file and in exports."""
    found = read_element_energies(path)
    return {FITTED: dict(found.fitted), ISOLATED: dict(found.isolated)}


def fit_file(file: h5py.Group) -> dict[str, float]:
    """The fitted energies of an open dataset, eV by chemical symbol. Memory: some 100 bytes a structure, whatever its size."""
    splits, numbers = file["structures/atomic_numbers_splits"][:], file["structures/atomic_numbers"]
    blocks = [(start, min(start + _BLOCK, len(splits) - 1)) for start in range(0, len(splits) - 1, _BLOCK)]
    elements = np.unique(np.concatenate([np.zeros(0, np.int64), *(np.unique(numbers[splits[a] : splits[b]]) for a, b in blocks)]))
    counts = np.zeros((len(splits) - 1, len(elements)), np.int32)
    for start, stop in blocks:
        counts[start:stop] = count_elements(numbers[splits[start] : splits[stop]], splits[start : stop + 1] - splits[start], elements)
    charges = file["structures/charges"][:] if "structures/charges" in file else None
    return _fit_bound(file["labels/energy"][:], counts, elements, charges)


def fit_energies(energies: Floats, numbers: NDArray[np.int64], splits: NDArray[np.int64], charges: NDArray[np.integer]) -> dict[str, float]:
    """The same of columns: energies, eV, and charges, shape (n,), and atomic numbers, structure i having the rows splits[i]:splits[i+1].

    What a charge costs is fitted beside the elements, so that ions do not bend their energies.
    """
    elements = np.unique(numbers)
    return _fit_bound(energies, count_elements(numbers, splits, elements), elements, charges)


def count_elements(numbers: NDArray[np.int64], splits: NDArray[np.int64], elements: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many atoms of each of `elements`, ascending and all there are, a structure has, (n, k)."""
    n, k = len(splits) - 1, len(elements)
    places = np.repeat(np.arange(n), np.diff(splits)) * k + np.searchsorted(elements, numbers)
    return np.bincount(places, minlength=n * k).reshape(n, k)


def _fit_bound(
    energies: Floats, counts: NDArray[np.integer], elements: NDArray[np.int64], charges: NDArray[np.integer] | None
) -> dict[str, float]:
    """The fit of all structures but single atoms."""
    bound = counts.sum(axis=1) > 1
    present = counts[bound].any(axis=0)
    if not present.any():
        return {}
    own = counts[bound][:, present]
    fit = fit_elements(energies[bound], own if charges is None else add_charges(own, charges[bound]))[0][: own.shape[1]]
    return {chemical_symbols[z]: float(energy) for z, energy in zip(elements[present], fit, strict=True)}


def add_charges(counts: NDArray[np.integer], charges: NDArray[np.integer]) -> NDArray[np.integer]:
    """Atoms of each element with two columns more, positive and negative charges, where a structure has any, shape (n, k + 2)."""
    if not charges.any():
        return counts
    signs = np.stack([np.clip(charges, 0, None), np.clip(-charges, 0, None)], axis=1)
    return np.concatenate([counts, signs.astype(counts.dtype)], axis=1)


def fit_elements(energies: Floats, counts: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """One energy an element by a robust linear fit (Huber's weights, repeated): (energies of the elements, residuals), eV and eV/atom.

    Of very many structures the fit is of a sample, evenly spread; the residuals are of all.

    energies  of the structures, eV, shape (n,)
    counts    atoms of each element, shape (n, k); the energy of an element that none has is 0
    """
    rows = _choose_rows(counts)
    fit = _fit_robustly(*_per_atom(energies[rows], counts[rows]))
    shares, per_atom = _per_atom(energies, counts)
    return fit, per_atom - shares @ fit


def _choose_rows(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """All structures, or of very many a sample in which no element is missing, shape (m,)."""
    if len(counts) <= _MOST_ROWS:
        return np.arange(len(counts))
    spread = np.linspace(0, len(counts) - 1, _MOST_ROWS).astype(np.int64)
    rare = [np.flatnonzero(counts[:, element])[:_OF_EACH_ELEMENT] for element in range(counts.shape[1])]
    return np.unique(np.concatenate([spread, *rare]))


def _per_atom(energies: Floats, counts: NDArray[np.integer]) -> tuple[Floats, Floats]:
    n_atoms = counts.sum(axis=1)
    return counts / n_atoms[:, None], energies / n_atoms


def _fit_robustly(shares: Floats, per_atom: Floats) -> Floats:
    weights, fit = np.ones(len(per_atom)), np.zeros(shares.shape[1])
    for _ in range(_STEPS):
        before = fit
        fit = fit_shares(shares, per_atom, weights)
        residuals = per_atom - shares @ fit
        weights = np.minimum(1.0, _HUBER * find_scale(residuals) / np.maximum(np.abs(residuals), 1e-12))
        if np.abs(fit - before).max(initial=0.0) < 1e-6:
            break
    return fit


def fit_shares(shares: Floats, per_atom: Floats, weights: Floats) -> Floats:
    """The weighted least-squares fit of one energy an element, eV, shape (k,), by its normal equations, which are as small as k.

    shares    of each element in the atoms of a structure, shape (n, k)
    per_atom  energies, eV/atom, shape (n,)
    weights   of the structures, shape (n,)
    """
    weighted = shares * weights[:, None]
    return np.linalg.lstsq(weighted.T @ shares, weighted.T @ per_atom, rcond=_SINGULAR)[0].astype(np.float64)


def find_scale(residuals: Floats) -> float:
    """A robust standard deviation: 1.4826 times the median of the absolute residuals, at least 1 meV/atom."""
    return max(1.4826 * float(np.median(np.abs(residuals))), _LEAST_SCALE) if residuals.size else _LEAST_SCALE
