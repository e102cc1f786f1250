"""Atomic environments as numbers, and how many different ones there are: the descriptor and the entropy of QUESTS.

Schwalbe-Koda, Hamel, Sadigh, Zhou, Lordi, Nature Communications 16, 4014 (2025). An environment is described by distances alone, to and
among its 32 nearest neighbours within 5 Å: which elements they are does not enter. In numpy, as gates are judged wherever a dataset is
verified, and the authors' library needs numba; a test holds the two together.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from distillery.structures.geometry import find_pairs
from distillery.structures.structure import Structure

N_NEIGHBOURS = 32
REACH = 5.0
"""Å."""
BANDWIDTH = 0.06
"""Environments nearer than this count as one, 1/Å. Two copies of one environment whose atoms are displaced at random by
0.05 Å (standard deviation), as by heat, are 0.02 (NaCl) to 0.06 (benzene) apart."""
N_NUMBERS = 2 * N_NEIGHBOURS - 1
_ROWS_AT_ONCE = 2000

Descriptors = NDArray[np.float64]


def describe_environments(structure: Structure, atoms: Sequence[int] | None = None) -> Descriptors:
    """The environments of these atoms, or of all: N_NUMBERS numbers for each, 1/Å, shape (n, 63).

    The first 32 are inverse distances of the nearest neighbours, faded out towards REACH, the others those among neighbours.
    """
    pairs = find_pairs(structure, REACH)
    starts = np.searchsorted(pairs.i, np.arange(len(structure) + 1))
    wanted = range(len(structure)) if atoms is None else atoms
    found = np.zeros((len(wanted), N_NUMBERS))
    for row, atom in enumerate(wanted):
        own = slice(starts[atom], starts[atom + 1])
        nearest = np.argsort(pairs.distance[own], kind="stable")[:N_NEIGHBOURS]
        found[row] = _describe(pairs.distance[own][nearest], pairs.vector[own][nearest])
    return found


def _describe(distances: NDArray[np.float64], vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """The numbers of an environment with these neighbours, sorted by distance, shapes (m,) and (m, 3), m at most 32."""
    m = len(distances)
    weights = (1.0 - (distances / REACH) ** 2) ** 2
    among = np.zeros((N_NEIGHBOURS, N_NEIGHBOURS))
    gaps = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    among[:m, :m] = np.sqrt(weights[:, None] * weights) / gaps
    numbers = np.zeros(N_NUMBERS)
    numbers[:m] = weights / distances
    numbers[N_NEIGHBOURS:] = np.sort(among, axis=1)[:, :0:-1].mean(axis=0)
    return numbers


def find_entropy(environments: Descriptors) -> float:
    """Of a sample, shape (n, 63), nats: ln n if no two environments are alike, 0 if all are."""
    return float(-np.log(_find_densities(environments, environments) / len(environments)).mean()) + 0.0


def find_coverage(asked: Descriptors, known: Descriptors) -> float:
    """Share of the environments `asked` whose differential entropy with respect to `known` is not positive: they are no news."""
    return float((_find_densities(asked, known) >= 1.0).mean())


def _find_densities(asked: Descriptors, known: Descriptors) -> NDArray[np.float64]:
    """Of each environment asked about, the known ones near it, each by a Gaussian of its distance, shape (n,)."""
    norms = (known**2).sum(axis=1)
    found = np.empty(len(asked))
    for start in range(0, len(asked), _ROWS_AT_ONCE):
        rows = asked[start : start + _ROWS_AT_ONCE]
        squares = np.maximum((rows**2).sum(axis=1)[:, None] + norms - 2 * rows @ known.T, 0.0)
        found[start : start + _ROWS_AT_ONCE] = np.exp(squares / (-2 * BANDWIDTH**2)).sum(axis=1)
    return found
