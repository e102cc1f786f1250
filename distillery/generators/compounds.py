"""Real crystals: measured structures of known compounds, which services repeat, strain and cut.

`services/pymatgen/compile_compounds.py` makes `compounds.json` from the AFLOW library that pymatgen ships, and from a table of its own.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

import numpy as np

from distillery.structures.structure import Structure, Vectors, numbers_of


@dataclass(frozen=True, eq=False)
class Compound:
    """One crystal with its measured lattice constants, primitive or conventional.

    label         AFLOW's, such as A_cF8_227_a, or a name of our own
    names         all it goes by: label, mineral, Strukturbericht
    formula       reduced, as in SiO2
    structure     its cell; nothing of it is scaled
    pressure      why it is no crystal of normal pressure, or None
    is_molecular  all its atoms belong to finite molecules
    reference     who measured it
    """

    label: str
    names: tuple[str, ...]
    formula: str
    structure: Structure
    pressure: str | None
    is_molecular: bool
    reference: str

    @property
    def elements(self) -> frozenset[str]:
        """Its chemical symbols."""
        return frozenset(self.structure.symbols)

    @property
    def origin(self) -> dict[str, object]:
        """What goes to a structure's origin."""
        pressure = {} if self.pressure is None else {"high_pressure": self.pressure}
        return {"compound": self.formula, "prototype": self.label, "name": self.names[-1], "reference": self.reference, **pressure}


@cache
def read_compounds() -> tuple[Compound, ...]:
    """All of the table, in its order."""
    return tuple(_parse(**entry) for entry in json.loads((files("distillery.generators") / "compounds.json").read_text("utf-8")))


def _parse(
    label: str,
    names: list[str],
    formula: str,
    symbols: str,
    cell: list[list[float]],
    fractional: list[list[float]],
    pressure: str | None,
    is_molecular: bool,
    reference: str,
) -> Compound:
    numbers, vectors = numbers_of(symbols.split()), np.array(cell, dtype=np.float64)
    structure = Structure("", numbers, np.array(fractional) @ vectors, vectors, (True, True, True), "crystal")
    return Compound(label, tuple(names), formula, structure, pressure, is_molecular, reference)


@lru_cache(256)
def find_compounds(elements: tuple[str, ...], *, high_pressure: bool = False, molecular: bool = True) -> tuple[Compound, ...]:
    """Those made of these elements alone; phases of high pressure and molecular crystals only where they are asked for."""
    return tuple(
        compound
        for compound in read_compounds()
        if compound.elements <= set(elements) and (high_pressure or compound.pressure is None) and (molecular or not compound.is_molecular)
    )


def draw_compound(
    compounds: tuple[Compound, ...], rng: np.random.Generator, element_weights: Mapping[str, float] | None = None
) -> Compound:
    """One of the compounds: an element by its weight (1 if absent), then a compound by its share of that element, so that none prevails.

    A formula with n polymorphs comes sqrt(n) times as often as one with a single crystal.
    """
    elements, chances = _compute_chances(compounds)
    weights = np.array([(element_weights or {}).get(element, 1.0) for element in elements])
    return compounds[int(rng.choice(len(compounds), p=weights / weights.sum() @ chances))]


@lru_cache(256)
def _compute_chances(compounds: tuple[Compound, ...]) -> tuple[tuple[str, ...], Vectors]:
    """The elements, and how often each compound is drawn for each of them, shape (n_elements, n_compounds)."""
    elements = tuple(sorted({element for compound in compounds for element in compound.elements}))
    polymorphs = Counter(compound.formula for compound in compounds)
    shares = np.array(
        [[c.structure.symbols.count(e) / len(c.structure) / np.sqrt(polymorphs[c.formula]) for c in compounds] for e in elements]
    )
    return elements, shares / shares.sum(axis=1, keepdims=True)
