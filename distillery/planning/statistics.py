"""Figures of distributions: entropies, what a fit by elements leaves over, robust distances."""

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.element_energies import fit_shares


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Shannon entropy of a distribution given by counts, bits; 0 for none."""
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log2(share)).sum()) + 0.0


def entropy_ceiling(n_elements: int, hydrogen_share: float | None = None) -> float:
    """The largest entropy of n elements, bits; where hydrogen, one of them, has this share of the atoms, the others being uniform."""
    if n_elements <= 1:
        return 0.0
    if hydrogen_share is None:
        return float(np.log2(n_elements))
    groups = ((hydrogen_share, 1), (1 - hydrogen_share, n_elements - 1))
    return float(sum(-share * np.log2(share / n) for share, n in groups if share > 0))


def energy_residuals(energies: NDArray[np.float64], counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Energy per atom left over after a least-squares fit of one energy an element, eV/atom, shape (n,)."""
    shares = counts[:, counts.any(axis=0)].astype(np.float64)
    n_atoms = shares.sum(axis=1)
    shares /= n_atoms[:, None]
    per_atom = energies / n_atoms
    residuals: NDArray[np.float64] = per_atom - shares @ fit_shares(shares, per_atom, np.ones(len(per_atom)))
    return residuals


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the median in units of 1.4826 times the median absolute deviation, shape (n,)."""
    deviation = np.abs(values - np.median(values))
    scale = 1.4826 * np.median(deviation)
    z: NDArray[np.float64] = deviation / scale if scale > 0 else np.where(deviation > 0, np.inf, 0.0)
    return z
