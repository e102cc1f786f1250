"""How many structures are on each side of the split that exports and training readers make where nothing else is said."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from distillery.dataset.layout import Arrays
from distillery.dataset.splits import FRACTIONS, SIDES, Side, choose_side, find_parent


@dataclass
class Sides:
    """Counts while parts go by.

    structures  by source and side
    parents     the side of each that was met
    joined      of parents that a merge joined the one that they go by
    """

    structures: Counter[tuple[str, Side]] = field(default_factory=Counter)
    parents: dict[str, Side] = field(default_factory=dict)
    joined: Mapping[str, str] = field(default_factory=dict)

    def add(self, source: str, arrays: Arrays) -> None:
        """Count the structures of a part."""
        numbers = np.split(arrays["structures/atomic_numbers"], arrays["structures/atomic_numbers_splits"][1:-1])
        texts = (arrays[f"provenance/{name}"].tolist() for name in ("service", "system", "origin"))
        for service, system, origin, own in zip(*texts, numbers, strict=True):
            found = find_parent(service, system, own, json.loads(origin))
            parent = self.joined.get(found, found)
            side = self.parents.get(parent) or self.parents.setdefault(parent, choose_side(parent))
            self.structures[source, side] += 1

    def list_rows(self, sources: list[str]) -> list[dict[str, Any]]:
        """One row a side: its share as asked for, structures, their share, parents, structures by source."""
        total, parents = sum(self.structures.values()), Counter(self.parents.values())
        return [
            {
                "side": side,
                "wanted": fraction,
                "structures": (n := sum(self.structures[source, side] for source in sources)),
                "share": n / max(total, 1),
                "parents": parents[side],
                "by_source": {source: self.structures[source, side] for source in sources},
            }
            for side, fraction in zip(SIDES, FRACTIONS, strict=True)
        ]
