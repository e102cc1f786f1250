"""Small systems for tests, and hypothesis strategies for arbitrary ones."""

import numpy as np
from ase.build import bulk, fcc111, molecule
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distillery.structures.structure import SYSTEMS, Structure, from_ase


def water(id: str = "water/0000") -> Structure:
    return from_ase(molecule("H2O"), id=id, system="molecule", origin={"smiles": "O"})


def methane(id: str = "methane/0000") -> Structure:
    return from_ase(molecule("CH4"), id=id, system="molecule", origin={"smiles": "C"})


def silicon(id: str = "silicon/0000") -> Structure:
    return from_ase(bulk("Si", "diamond", 5.43, cubic=True), id=id, system="crystal", origin={"prototype": "A_cF8_227_a"})


def copper_slab(id: str = "slab/0000") -> Structure:
    atoms = fcc111("Cu", (2, 2, 3), vacuum=8.0)
    atoms.pbc = True
    return from_ase(atoms, id=id, system="surface", origin={"miller": [1, 1, 1]})


def one_atom(id: str = "atom/0000") -> Structure:
    return Structure(id, np.array([18], np.uint8), np.zeros((1, 3)), system="cluster", origin={"method": "atom"})


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_floats = st.floats(width=64)
_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@st.composite
def structures(draw: st.DrawFn) -> Structure:
    """Any structure at all: NaN positions, no atoms, element 0, odd text."""
    n_atoms = draw(st.integers(0, 5))
    return Structure(
        id=draw(_text),
        numbers=draw(hnp.arrays(np.uint8, n_atoms)),
        positions=draw(hnp.arrays(np.float64, (n_atoms, 3), elements=_floats)),
        cell=draw(hnp.arrays(np.float64, (3, 3), elements=_floats)),
        pbc=draw(st.tuples(st.booleans(), st.booleans(), st.booleans())),
        system=draw(st.sampled_from(SYSTEMS)),
        origin=draw(st.dictionaries(_text, _json, max_size=3)),
        charge=draw(st.integers(-(2**31), 2**31 - 1)),
        multiplicity=draw(st.integers(0, 2**31 - 1)),
    )
