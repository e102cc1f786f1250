"""Structural diversity: how many different atomic environments a source has, and how many of them the others have too.

The measure is the information entropy of atomic environments of QUESTS (`distillery.structures.environments`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distillery.structures.environments import BANDWIDTH, N_NUMBERS, Descriptors, describe_environments, find_coverage, find_entropy
from distillery.structures.structure import Structure

LARGEST_SAMPLE = 1500
"""Environments in each half of a source's sample."""
LEAST_SAMPLE = 100
"""A source with fewer environments in a half is too small to be compared."""
STRUCTURES = 80
"""Structures of a source that the environments are drawn from."""


@dataclass(frozen=True)
class Diversity:
    """What a seeded sample of every source says of its environments.

    n_environments    in each half of every source's sample; the same for all, so that sources can be compared
    ceiling           the largest entropy of so many environments, ln n, nats
    entropy           of one half by source, nats: the ceiling if no two environments are alike, 0 if all are
    coverage          coverage[a][b]: share of a's one half that b's other half has too; a may be b
    covered_by_others  share of a source's one half that the other halves of all other sources together have too
    too_small         sources left out, with the environments that they have in the smaller half
    """

    n_environments: int
    n_structures: dict[str, int]
    bandwidth: float
    ceiling: float
    entropy: dict[str, float]
    coverage: dict[str, dict[str, float]]
    covered_by_others: dict[str, float]
    too_small: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """All fields, for report.json."""
        return asdict(self)


def measure_diversity(samples: Mapping[str, Sequence[Structure]], seed: int) -> Diversity:
    """Compare sources by a sample of structures of each, of which the first `STRUCTURES` are used; the same for the same seed.

    Structures with an even place make the half that is asked about, those with an odd place the half it is looked up in.
    """
    used = {name: structures[:STRUCTURES] for name, structures in samples.items()}
    halves = {name: (_describe(own[::2]), _describe(own[1::2])) for name, own in used.items()}
    sizes = {name: min(map(len, pair)) for name, pair in halves.items()}
    large = [name for name, size in sizes.items() if size >= LEAST_SAMPLE]
    n = min([LARGEST_SAMPLE, *(sizes[name] for name in large)]) if large else 0
    rng = np.random.default_rng(seed)
    asked, known = ({name: _draw(halves[name][half], n, rng) for name in large} for half in (0, 1))
    return Diversity(
        n_environments=n,
        n_structures={name: len(used[name]) for name in large},
        bandwidth=BANDWIDTH,
        ceiling=round(float(np.log(n)), 4) if n else 0.0,
        entropy={name: round(find_entropy(asked[name]), 4) for name in large},
        coverage={a: {b: round(find_coverage(asked[a], known[b]), 4) for b in large} for a in large},
        covered_by_others=_cover_by_others(asked, known),
        too_small={name: size for name, size in sizes.items() if name not in large},
    )


def _describe(structures: Sequence[Structure]) -> Descriptors:
    return np.concatenate([np.zeros((0, N_NUMBERS)), *(describe_environments(structure) for structure in structures)])


def _cover_by_others(asked: Mapping[str, Descriptors], known: Mapping[str, Descriptors]) -> dict[str, float]:
    if len(known) < 2:
        return {}
    others = {a: np.concatenate([known[b] for b in known if b != a]) for a in asked}
    return {a: round(find_coverage(own, others[a]), 4) for a, own in asked.items()}


def _draw(environments: Descriptors, n: int, rng: np.random.Generator) -> Descriptors:
    return environments[np.sort(rng.permutation(len(environments))[:n])]
