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
    """The fitted energies of an open dataset, eV by chemical symbol."""
    splits = file["structures/atomic_numbers_splits"][:]
    return fit_energies(file["labels/energy"][:], file["structures/atomic_numbers"][:], splits)


def fit_energies(energies: Floats, numbers: NDArray[np.int64], splits: NDArray[np.int64]) -> dict[str, float]:
    """The same of columns: energies, eV, shape (n,), and atomic numbers, structure i having the rows splits[i]:splits[i+1]."""
    n_atoms = np.diff(splits)
    elements, kinds = np.unique(numbers, return_inverse=True)
    counts = np.zeros((len(energies), len(elements)), np.int64)
    np.add.at(counts, (np.repeat(np.arange(len(energies)), n_atoms), kinds), 1)
    bound = n_atoms > 1
    present = counts[bound].any(axis=0)
    if not present.any():
        return {}
    fit = fit_elements(energies[bound], counts[bound][:, present])[0]
    return {chemical_symbols[z]: float(energy) for z, energy in zip(elements[present], fit, strict=True)}


def fit_elements(energies: Floats, counts: NDArray[np.integer]) -> tuple[Floats, Floats]:
    """One energy an element by a robust linear fit (Huber's weights, repeated): (energies of the elements, residuals), eV and eV/atom.

    energies  of the structures, eV, shape (n,)
    counts    atoms of each element, shape (n, k); the energy of an element that none has is 0
    """
    n_atoms = counts.sum(axis=1)
    shares, per_atom = counts / n_atoms[:, None], energies / n_atoms
    weights, fit = np.ones(len(per_atom)), np.zeros(counts.shape[1])
    for _ in range(_STEPS):
        before, root = fit, np.sqrt(weights)
        fit = np.linalg.lstsq(shares * root[:, None], per_atom * root, rcond=None)[0]
        residuals = per_atom - shares @ fit
        weights = np.minimum(1.0, _HUBER * find_scale(residuals) / np.maximum(np.abs(residuals), 1e-12))
        if np.abs(fit - before).max(initial=0.0) < 1e-6:
            break
    return fit, per_atom - shares @ fit


def find_scale(residuals: Floats) -> float:
    """A robust standard deviation: 1.4826 times the median of the absolute residuals, at least 1 meV/atom."""
    return max(1.4826 * float(np.median(np.abs(residuals))), _LEAST_SCALE) if residuals.size else _LEAST_SCALE
