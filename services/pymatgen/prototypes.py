"""Prototypes: the AFLOW library that pymatgen ships, undecorated."""

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distillery.structures.structure import Structure, Vectors, numbers_of


@dataclass(frozen=True, eq=False)
class Prototype:
    """A crystal without its elements.

    label      AFLOW's, such as A_cF8_227_a (diamond); a few stand for more than one prototype
    names      all it goes by: label, mineral, Strukturbericht
    species    which species a site holds, 0-based, shape (n_atoms,)
    fractional positions, shape (n_atoms, 3)
    cell       rows are vectors, shape (3, 3); only its shape matters
    """

    label: str
    names: tuple[str, ...]
    species: NDArray[np.int64]
    fractional: Vectors
    cell: Vectors

    def __len__(self) -> int:
        return len(self.species)

    @property
    def n_species(self) -> int:
        """How many elements it takes."""
        return int(self.species.max()) + 1

    @property
    def counts(self) -> tuple[int, ...]:
        """Its atoms of each species."""
        return tuple(int(n) for n in np.bincount(self.species))

    def decorate(self, elements: tuple[str, ...]) -> Structure:
        """The prototype with an element for every species; its volume is still the library's."""
        numbers = numbers_of(elements)[self.species]
        origin = {"method": "decorated", "prototype": self.label, "name": self.names[-1]}
        return Structure("", numbers, self.fractional @ self.cell, self.cell, (True, True, True), "crystal", origin)


@cache
def read_library() -> tuple[Prototype, ...]:
    """The prototypes in the file's order.

    They are read as plain JSON: pymatgen's own `AFLOW_PROTOTYPE_LIBRARY` takes each worker 5 s to import.
    """
    return tuple(_parse(entry) for entry in read_entries())


def read_entries() -> list[dict[str, Any]]:
    """The file as it is: for every prototype `snl`, a crystal with its references, and `tags`, its names."""
    path = files("pymatgen.analysis") / "prototypes" / "aflow_prototypes.json.gz"
    entries: list[dict[str, Any]] = json.loads(gzip.decompress(path.read_bytes()))
    return entries


def _parse(entry: Mapping[str, Any]) -> Prototype:
    sites, tags = entry["snl"]["sites"], entry["tags"]
    symbols = [site["species"][0]["element"] for site in sites]
    order = list(dict.fromkeys(symbols))
    names = dict.fromkeys((tags["aflow"], tags["strukturbericht"], tags["mineral"]))
    return Prototype(
        label=tags["aflow"],
        names=tuple(name for name in names if name and name != "None"),
        species=np.array([order.index(s) for s in symbols]),
        fractional=np.array([site["abc"] for site in sites], dtype=np.float64),
        cell=np.array(entry["snl"]["lattice"]["matrix"], dtype=np.float64),
    )


@cache
def known_names() -> frozenset[str]:
    """Everything a prototype can be asked for by."""
    return frozenset(name for prototype in read_library() for name in prototype.names)


@lru_cache(256)
def select_prototypes(names: tuple[str, ...], n_elements: tuple[int, int], n_atoms: tuple[int, int]) -> tuple[Prototype, ...]:
    """Those of `names` (all if empty) with so many elements, a supercell of which can have so many atoms."""
    return tuple(
        prototype
        for prototype in read_library()
        if (not names or not set(names).isdisjoint(prototype.names))
        and n_elements[0] <= prototype.n_species <= n_elements[1]
        and n_atoms[1] // len(prototype) * len(prototype) >= n_atoms[0]
    )
