"""Which structures of a dataset are wanted: by source, system, elements, size, largest force, and whether they have a stress."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from distillery.dataset.blocks import Block, Indices, read_blocks
from distillery.dataset.layout import open_dataset
from distillery.errors import InvalidRequest
from distillery.structures.structure import SYSTEMS

Kept = NDArray[np.bool_]


@dataclass(frozen=True)
class Selection:
    """What structures must be to be chosen; what is None or empty asks nothing.

    sources, systems  one of these
    elements          no others, by chemical symbol
    max_force         eV/Å, that of no atom may be longer
    """

    sources: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    min_atoms: int | None = None
    max_atoms: int | None = None
    max_force: float | None = None
    with_stress: bool = False

    def __post_init__(self) -> None:
        _require_known("system", self.systems, SYSTEMS)
        unknown = [element for element in self.elements if atomic_numbers.get(element, 0) == 0]
        if unknown:
            raise InvalidRequest(f"elements are chemical symbols such as Si, got {', '.join(unknown)}")

    def test(self, block: Block) -> Iterator[tuple[str, Kept]]:
        """Each thing that is asked, and which structures are that."""
        if self.sources:
            yield "of another source", np.isin(block.texts["source"], self.sources)
        if self.systems:
            yield "of another system", np.isin(block.texts["system"], self.systems)
        if self.elements:
            known = np.isin(block.numbers, [atomic_numbers[element] for element in self.elements])
            yield "with other elements", _reduce(np.logical_and, known, block)
        if self.min_atoms is not None:
            yield f"of fewer than {self.min_atoms} atoms", block.n_atoms >= self.min_atoms
        if self.max_atoms is not None:
            yield f"of more than {self.max_atoms} atoms", block.n_atoms <= self.max_atoms
        if self.max_force is not None:
            weak = np.linalg.norm(block.forces.astype(np.float64), axis=1) <= self.max_force
            yield f"with a force beyond {self.max_force:g} eV/Å", _reduce(np.logical_and, weak, block)
        if self.with_stress:
            yield "without a stress", block.has_stress


@dataclass(frozen=True, eq=False)
class Selected:
    """The structures that were chosen.

    indices   rows of the dataset, in the order that was asked for
    left_out  how many were not, by the first reason that held
    """

    indices: NDArray[np.int64]
    left_out: Counter[str]

    def describe_left_out(self) -> str:
        """The counts, with their reasons; "" if nothing was left out."""
        return ", ".join(f"{n} {reason}" for reason, n in self.left_out.items())


def choose_structures(path: Path | str, selection: Selection, indices: Indices | None = None) -> Selected:
    """The structures of a dataset, or of some of its rows, that a selection asks for.

    InvalidRequest: the file is no dataset, or has no such source.
    """
    with open_dataset(path) as file:
        _require_known("source", selection.sources, set(file["provenance/source"].asstr()[:].tolist()))
    chosen, left_out = [np.zeros(0, np.int64)], Counter[str]()
    for block in read_blocks(path, indices):
        kept = np.ones(len(block), bool)
        for reason, is_fit in selection.test(block):
            refused = kept & ~is_fit
            left_out[reason] += int(refused.sum())
            kept &= is_fit
        chosen.append(block.indices[kept])
    return Selected(np.concatenate(chosen), +left_out)


def _reduce(how: np.ufunc, values: Kept, block: Block) -> Kept:
    """One value a structure, of one an atom; every structure has an atom."""
    result: Kept = how.reduceat(values, block.splits[:-1])
    return result


def _require_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    wrong = sorted(set(given) - set(known))
    if wrong:
        raise InvalidRequest(f"there is no {what} {', '.join(wrong)}; there are {', '.join(sorted(known))}")
