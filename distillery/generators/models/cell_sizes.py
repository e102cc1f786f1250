"""How many atoms a cell has: those sizes whose supercells can meet the range that was asked for."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def select_cell_sizes(shares: Mapping[int, float], min_atoms: int, max_atoms: int) -> dict[int, float]:
    """Those sizes a whole multiple of which lies in the range, their shares normalised; empty if there is none."""
    fitting = {size: share for size, share in shares.items() if max_atoms // size * size >= min_atoms}
    total = sum(fitting.values())
    return {size: share / total for size, share in fitting.items()}


def draw_cell_sizes(shares: Mapping[int, float], n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """n sizes, shape (n,)."""
    return rng.choice(np.array(list(shares), dtype=np.int64), size=n, p=list(shares.values()))
