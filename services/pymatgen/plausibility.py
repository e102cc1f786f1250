"""Is a composition plausible? Charges balance, and anions are more electronegative than cations.

The criterion of SMACT (D. W. Davies et al., Chem 1, 617 (2016)) on pymatgen's common oxidation states and Pauling's electronegativities.
"""

from functools import cache, lru_cache
from itertools import product

from pymatgen.core.periodic_table import Element

from services.pymatgen.volume import is_nonmetal


@lru_cache(2**16)
def is_plausible(composition: tuple[tuple[str, int], ...]) -> bool:
    """True if one oxidation state for each element makes it neutral, every anion being more electronegative than every cation.

    An element alone is plausible if it is a metal: non-metals have structures of their own.

    composition  elements and their numbers of atoms, sorted
    """
    symbols, counts = zip(*composition, strict=True)
    if len(symbols) == 1:
        return not is_nonmetal(symbols[0])
    return any(
        sum(n * state for n, state in zip(counts, states, strict=True)) == 0 and _are_ordered(symbols, states)
        for states in product(*map(_states_of, symbols))
    )


@cache
def _states_of(symbol: str) -> tuple[int, ...]:
    return tuple(int(state) for state in Element(symbol).common_oxidation_states if state)


def _are_ordered(symbols: tuple[str, ...], states: tuple[int, ...]) -> bool:
    cations = [Element(s).X for s, state in zip(symbols, states, strict=True) if state > 0]
    anions = [Element(s).X for s, state in zip(symbols, states, strict=True) if state < 0]
    return max(cations) < min(anions)
