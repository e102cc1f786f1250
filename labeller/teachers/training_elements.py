"""The elements of the data that teachers were trained on, known before a model is loaded."""

from ase.data import chemical_symbols

_NOT_IN_MATERIALS = frozenset({"Po", "At", "Rn", "Fr", "Ra"})
MATERIALS = tuple(symbol for symbol in chemical_symbols[1:95] if symbol not in _NOT_IN_MATERIALS)
"""MPtrj, Alexandria and OMat24: 89 elements (the zeros of orb-models' mpa-d3-zero reference agree)."""
OMOL = tuple(chemical_symbols[1:84])
"""OMol25 (Levine et al., arXiv:2505.08762): the first 83."""
