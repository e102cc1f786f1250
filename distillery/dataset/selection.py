"""Which structures of a dataset are wanted: by source, system, elements, size, force, energy, stress, or a condition in words."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from ase.units import GPa
from numpy.typing import NDArray

from distillery.dataset.blocks import Block, Indices, read_blocks
from distillery.dataset.element_energies import read_element_energies
from distillery.dataset.expression import Condition
from distillery.dataset.layout import open_dataset
from distillery.errors import InvalidRequest
from distillery.structures.structure import SYSTEMS

Kept = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """What structures must be to be chosen; what is None or empty asks nothing.

    sources, systems  one of these
    elements          no others, by chemical symbol
    max_force         eV/Å, that of no atom may be longer
    max_residual      eV/atom, the energy less the fitted energies of its elements may not be farther from zero; single atoms have none
    where             a condition, as `distillery.dataset.expression` has it
    """

    sources: tuple[str, ...] = ()
    systems: tuple[str, ...] = ()
    elements: tuple[str, ...] = ()
    min_atoms: int | None = None
    max_atoms: int | None = None
    max_force: float | None = None
    max_residual: float | None = None
    with_stress: bool = False
    where: str = ""

    def __post_init__(self) -> None:
        if self.where:
            Condition(self.where)
        _require_known("system", self.systems, SYSTEMS)
        unknown = [element for element in self.elements if atomic_numbers.get(element, 0) == 0]
        if unknown:
            raise InvalidRequest(f"elements are chemical symbols such as Si, got {', '.join(unknown)}")
        for name, most in (("max_force", self.max_force), ("max_residual", self.max_residual)):
            if most is not None and not most >= 0:  # nan too, beyond which nothing is
                raise InvalidRequest(f"{name} is a number that is not negative, got {most:g}")

    @property
    def asks_for_residuals(self) -> bool:
        """Whether the fitted energies of the elements are needed."""
        return self.max_residual is not None or (bool(self.where) and "residual" in Condition(self.where).names)

    def test(self, block: Block, fitted: Floats | None = None) -> Iterator[tuple[str, Kept]]:
        """Each thing that is asked, and which structures are that.

        fitted  energies of the elements by atomic number, eV; only where `asks_for_residuals`
        """
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
            yield f"with a force beyond {self.max_force:g} eV/Å", find_largest_forces(block) <= self.max_force
        if self.max_residual is not None:
            far = np.abs(find_residuals(block, fitted)) > self.max_residual
            yield f"with an energy more than {self.max_residual:g} eV/atom off", ~far
        if self.with_stress:
            yield "without a stress", block.has_stress
        if self.where:
            yield f"not {self.where}", Condition(self.where).test(describe_block(block, fitted))


def find_largest_forces(block: Block) -> Floats:
    """The longest force in each structure, eV/Å, (n,)."""
    largest: Floats = np.maximum.reduceat(np.linalg.norm(block.forces.astype(np.float64), axis=1), block.splits[:-1])
    return largest


def find_residuals(block: Block, fitted: Floats | None) -> Floats:
    """The energy of each structure less the fitted energies of its elements, eV/atom, (n,); NaN for single atoms."""
    assert fitted is not None, "residuals need fitted energies"
    expected = np.add.reduceat(fitted[block.numbers], block.splits[:-1])
    residuals: Floats = np.where(block.n_atoms > 1, (block.energy - expected) / block.n_atoms, np.nan)
    return residuals


def describe_block(block: Block, fitted: Floats | None) -> dict[str, NDArray[Any]]:
    """What a condition can ask of structures (`expression.NAMES`), (n,) each; NaN where there is no such thing."""
    is_periodic = block.pbc.all(axis=1)
    volume = np.abs(np.linalg.det(block.cells))
    return {
        "n_atoms": block.n_atoms.astype(np.float64),
        "energy": block.energy,
        "energy_per_atom": block.energy / block.n_atoms,
        "residual": find_residuals(block, fitted) if fitted is not None else np.full(len(block), np.nan),
        "largest_force": find_largest_forces(block),
        "pressure": np.where(block.has_stress, -block.stress[:, :3].mean(axis=1) / GPa, np.nan),
        "volume_per_atom": np.where(is_periodic, volume / block.n_atoms, np.nan),
        "source": np.array(block.texts["source"]),
        "system": np.array(block.texts["system"]),
    }


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
    fitted = _read_fitted(path) if selection.asks_for_residuals else None
    chosen, left_out = [np.zeros(0, np.int64)], Counter[str]()
    for block in read_blocks(path, indices):
        kept = np.ones(len(block), bool)
        for reason, is_fit in selection.test(block, fitted):
            refused = kept & ~is_fit
            left_out[reason] += int(refused.sum())
            kept &= is_fit
        chosen.append(block.indices[kept])
    return Selected(np.concatenate(chosen), +left_out)


def _read_fitted(path: Path | str) -> Floats:
    """The fitted energies by atomic number, eV."""
    fitted = np.zeros(len(chemical_symbols))
    for symbol, energy in read_element_energies(path).fitted.items():
        fitted[atomic_numbers[symbol]] = energy
    return fitted


def _reduce(how: np.ufunc, values: Kept, block: Block) -> Kept:
    """One value a structure, of one an atom; every structure has an atom."""
    result: Kept = how.reduceat(values, block.splits[:-1])
    return result


def _require_known(what: str, given: Iterable[str], known: Iterable[str]) -> None:
    wrong = sorted(set(given) - set(known))
    if wrong:
        raise InvalidRequest(f"there is no {what} {', '.join(wrong)}; there are {', '.join(sorted(known))}")
