"""Splits: the train, validation and test sides of a dataset, all structures of one parent on one side."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import h5py
import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.dataset.layout import open_dataset
from distillery.errors import InvalidRequest
from distillery.structures.structure import PERIODIC_SYSTEMS, SYSTEMS, System

Side = Literal["train", "val", "test"]
SIDES: tuple[Side, ...] = get_args(Side)
Fractions = tuple[float, float, float]
FRACTIONS: Fractions = (0.8, 0.1, 0.1)
JOINED = "joined_parents"
"""Attribute of the group `metadata` of merged datasets: JSON, parents that count as another one."""
_BLOCK = 4096
"""Structures whose provenance is in memory at once."""


@dataclass(frozen=True, eq=False)
class Split:
    """Which structures are on which side.

    indices    of the structures in the dataset, ascending, by side
    n_parents  by side
    """

    indices: Mapping[Side, NDArray[np.int64]]
    n_parents: Mapping[Side, int]

    def describe(self) -> str:
        """The achieved fractions of the structures, and the counts."""
        n_structures = sum(len(own) for own in self.indices.values())
        return ", ".join(
            f"{side} {len(own) / max(n_structures, 1):.3f} ({len(own)} structures of {self.n_parents[side]} parents)"
            for side, own in self.indices.items()
        )


def split_dataset(path: Path | str, *, seed: int = 0, fractions: Fractions = FRACTIONS) -> Split:
    """The sides of a dataset.h5: a pure function of seed, fractions and each structure's parent.

    As a parent's side does not depend on the other parents, structures that are added later move none from side to side; the
    price is that the fractions are met on average only. InvalidRequest: the file is no dataset, or the numbers make no sense.
    """
    parents = np.array(read_parents(path), dtype=object)
    side_of = {parent: choose_side(parent, seed=seed, fractions=fractions) for parent in dict.fromkeys(parents.tolist())}
    sides = np.array([side_of[parent] for parent in parents], dtype=object)
    return Split(
        indices={side: np.flatnonzero(sides == side) for side in SIDES},
        n_parents={side: sum(chosen == side for chosen in side_of.values()) for side in SIDES},
    )


def choose_side(parent: str, *, seed: int = 0, fractions: Fractions = FRACTIONS) -> Side:
    """The side of a parent: where a keyed hash of its name falls among the fractions of train, val, test."""
    if not 0 <= seed < 2**63:
        raise InvalidRequest(f"a split's seed must lie in 0..2**63-1, got {seed}")
    _require_shares(fractions)
    digest = hashlib.blake2b(parent.encode(), key=seed.to_bytes(8, "little"), digest_size=8).digest()
    place = (int.from_bytes(digest, "little") >> 11) / 2**53
    if place < fractions[0]:
        return "train"
    return "val" if place < 1.0 - fractions[2] else "test"


def _require_shares(fractions: Fractions) -> None:
    if min(fractions) < 0 or not math.isclose(sum(fractions), 1.0):
        raise InvalidRequest(f"the fractions of train, val and test must be at least 0 and add up to 1, got {fractions}")


def read_parents(path: Path | str) -> list[str]:
    """The parent of every structure of a dataset.h5, in order; of those that a merge joined the one that they go by."""
    with open_dataset(path) as file:
        joined = read_joined(file)
        own = (find_parent(service, system, numbers, origin) for service, system, numbers, origin in read_origins(file))
        return [joined.get(parent, parent) for parent in own]


def read_joined(file: h5py.Group) -> dict[str, str]:
    """Of the parents that a merge joined the one that they go by: their structures are on one side."""
    noted = file["metadata"].attrs if "metadata" in file else {}
    joined: dict[str, str] = json.loads(noted.get(JOINED, "{}"))
    return joined


def read_origins(file: h5py.Group) -> Iterator[tuple[str, System, NDArray[np.int64], dict[str, Any]]]:
    """Service, system, atomic numbers and origin of every structure, in order."""
    splits = file["structures/atomic_numbers_splits"][:]
    for start in range(0, len(splits) - 1, _BLOCK):
        stop = min(start + _BLOCK, len(splits) - 1)
        numbers = file["structures/atomic_numbers"][splits[start] : splits[stop]]
        own = np.split(numbers, splits[start + 1 : stop] - splits[start])
        texts = (file[f"provenance/{name}"].asstr()[start:stop] for name in ("service", "system", "origin"))
        for service, system, origin, its_numbers in zip(*texts, own, strict=True):
            yield service, system, its_numbers, json.loads(origin)


def find_parent(service: str, system: System, numbers: NDArray[Any], origin: Mapping[str, Any]) -> str:
    """The name of what a structure is a copy of: the same for its conformers, supercells, strains and rattles.

    Copies have the same composition, whatever made them; so that is the parent: of molecules (conformers and stereoisomers of one
    graph have one formula) and clusters as it is, of crystals and surfaces reduced. A service that says more in `origin` can have its
    parents told apart further, or joined: `_REFINEMENTS`.

    numbers  atomic numbers, shape (n_atoms,)
    """
    refine = _REFINEMENTS.get((service, system))
    refined = None if refine is None else refine(_compose(numbers, reduced=True), origin)
    return name_composition(system, numbers) if refined is None else refined


def name_composition(system: System, numbers: NDArray[Any]) -> str:
    """The parent of structures of which no more than their composition is known."""
    reduced = system in PERIODIC_SYSTEMS
    return f"{'periodic' if reduced else 'finite'} {_compose(numbers, reduced=reduced)}"


def _compose(numbers: NDArray[Any], *, reduced: bool) -> str:
    """Symbols with counts in order of atomic number, as in "H2 O1"."""
    elements, counts = np.unique(numbers, return_counts=True)
    if reduced:
        counts = counts // np.gcd.reduce(counts)
    return " ".join(f"{chemical_symbols[z]}{count}" for z, count in zip(elements, counts, strict=True))


def _refine_symmetric_crystal(composition: str, origin: Mapping[str, Any]) -> str | None:
    """Crystals of one composition differ in the space group they had before they were perturbed."""
    return f"periodic {composition}, space group {origin['space_group']}" if "space_group" in origin else None


def _refine_slab(composition: str, origin: Mapping[str, Any]) -> str | None:
    """Slabs of one crystal and face are one parent, whatever their thickness, repeats, terminations and adsorbates.

    Faces are told apart by their sorted indices without signs, so that those that symmetry makes equal are never two.
    """
    if not {"prototype", "bulk", "miller"} <= origin.keys():
        return None
    face = " ".join(str(index) for index in sorted(abs(int(index)) for index in origin["miller"]))
    return f"slab of {origin['bulk']} {origin['prototype']}, face {face}"


def _read_parent(composition: str, origin: Mapping[str, Any]) -> str | None:
    """What the service itself says: the row or the file that a structure came from, or the parent it had in another dataset."""
    if "kept_parent" in origin:
        return str(origin["kept_parent"])
    return f"parent {origin['parent']}" if "parent" in origin else None


_Refine = Callable[[str, Mapping[str, Any]], str | None]
_REFINEMENTS: Mapping[tuple[str, System], _Refine] = {
    ("pymatgen", "crystal"): _refine_symmetric_crystal,
    ("ase", "surface"): _refine_slab,
    **{("structures", system): _read_parent for system in SYSTEMS},
}


def parse_fractions(text: str) -> Fractions:
    """Fractions from "0.8,0.1,0.1"; InvalidRequest if those are not three shares of 1."""
    try:
        train, val, test = (float(word) for word in text.split(","))
    except ValueError as error:
        raise InvalidRequest(f"fractions are three numbers like 0.8,0.1,0.1 (train, val, test), got {text!r}") from error
    _require_shares((train, val, test))
    return train, val, test
