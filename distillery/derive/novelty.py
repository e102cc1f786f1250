"""What of some structures is new to a dataset: environments farther from all that it has than its own are from one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from distillery.dataset.blocks import read_blocks
from distillery.dataset.layout import open_dataset
from distillery.derive.select import Floats, describe_structures, measure_nearest
from distillery.structures.structure import Structure

_MOST_KNOWN = 50_000
"""Environments of the dataset that are looked at, evenly spread."""
_ASKED = 200
"""Structures of the dataset whose distance from the others says what is usual."""
_USUAL = 0.95
"""Share of them that is usual."""


@dataclass(frozen=True, eq=False)
class Known:
    """The environments of a dataset.

    environments  (N, k)
    elements      atomic numbers that it has
    usual         the distance from the others that nearly all of its own structures stay within, 1/Å
    """

    environments: Floats
    elements: NDArray[np.int64]
    usual: float


def read_known(path: Path) -> Known:
    """The environments of a dataset."""
    with open_dataset(path) as file:
        elements = np.unique(file["structures/atomic_numbers"][:])
    own = [one for block in read_blocks(path) for one in describe_structures(block.make_structures(), elements)]
    environments = np.concatenate(own)
    owner = np.repeat(np.arange(len(own)), [len(one) for one in own])
    spread = np.unique(np.linspace(0, len(environments) - 1, min(_MOST_KNOWN, len(environments))).astype(np.int64))
    environments, owner = environments[spread], owner[spread]
    asked = np.unique(np.linspace(0, len(own) - 1, min(_ASKED, len(own))).astype(np.int64))
    apart = [float(measure_nearest(own[k], environments[owner != k]).max()) for k in asked if (owner != k).any()]
    return Known(environments, elements, float(np.quantile(apart, _USUAL)) if apart else 0.0)


def choose_new(known: Known, structures: Sequence[Structure], n: int) -> tuple[list[int], list[bool]]:
    """At most n of the structures, each with the environment farthest from all known and chosen before; and which are new."""
    own = describe_structures(structures, known.elements)
    nearest = [measure_nearest(one, known.environments) for one in own]
    is_new = [bool(one.max() > known.usual) for one in nearest]
    chosen: list[int] = []
    while len(chosen) < min(n, len(own)):
        k = max((k for k in range(len(own)) if k not in chosen), key=lambda k: float(nearest[k].max()))
        chosen.append(k)
        nearest = [np.minimum(apart, measure_nearest(one, own[k])) for apart, one in zip(nearest, own, strict=True)]
    return chosen, is_new
