"""Measures of a dataset, for its gates: every part is measured once, and the measures of structures that count are added up."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from distillery.dataset.element_energies import add_charges
from distillery.planning.part_measures import REFUSED_BY_LIMITS, PartMeasures, PhysicsTally
from distillery.planning.samples import Descriptors
from distillery.structures.packed_texts import PackedTexts

_N_ELEMENTS = len(chemical_symbols)
BEYOND_LIMITS = (*(f"label: {reason}" for reason in REFUSED_BY_LIMITS), "dataset: energy_outlier")


@dataclass
class SourceMeasures:
    """One source's structures in the dataset, and what was lost on the way to them.

    first_fault                of `PartTotals`, in the order of the plan
    atoms_of, structures_with  by atomic number: atoms, and structures that hold the element, shape (119,)
    sizes                      atoms of every structure, an array a part
    compositions               keys of the reduced compositions, an array a part
    environments               descriptors of a sample of atoms, an array a structure
    """

    requested: int = 0
    generated: int = 0
    labelled: int = 0
    refused_by_labeller: int = 0
    refused_by_limits: int = 0
    kept: int = 0
    generate_seconds: float = 0.0
    label_seconds: float = 0.0
    n_calls: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_fault: str = ""
    makers: Counter[str] = field(default_factory=Counter)
    systems: Counter[str] = field(default_factory=Counter)
    notes: set[str] = field(default_factory=set)
    atoms_of: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_N_ELEMENTS, np.int64))
    structures_with: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_N_ELEMENTS, np.int64))
    sizes: list[NDArray[np.int32]] = field(default_factory=list)
    compositions: list[NDArray[np.uint64]] = field(default_factory=list)
    environments: list[Descriptors] = field(default_factory=list)
    n_laws_tried: int = 0
    broken_laws: list[str] = field(default_factory=list)

    @property
    def n_sizes(self) -> int:
        """Distinct numbers of atoms."""
        return len(np.unique(np.concatenate(self.sizes))) if self.sizes else 0

    @property
    def n_compositions(self) -> int:
        """Distinct reduced compositions."""
        return len(np.unique(np.concatenate(self.compositions))) if self.compositions else 0


@dataclass
class Measures:
    """All sources, and per structure what the energy and force gates need, in plan order.

    numbers         the elements that occur, shape (k,)
    energies        eV, shape (n,)
    counts          atoms of each of them, shape (n, k)
    names           of the source that each array is of
    ids             of the structures, of each array
    largest_forces  eV/Å, shape (n,)
    pressures       GPa, shape (n,)
    self_tests      what the self-tests of all labellers said
    contacts        shortest distance over sum of covalent radii, of a sample
    charges         total, e, of each array
    """

    sources: dict[str, SourceMeasures]
    numbers: NDArray[np.int64]
    energies: list[NDArray[np.float64]] = field(default_factory=list)
    counts: list[NDArray[np.uint16]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    ids: list[PackedTexts] = field(default_factory=list)
    largest_forces: list[NDArray[np.float64]] = field(default_factory=list)
    pressures: list[NDArray[np.float64]] = field(default_factory=list)
    contacts: list[float] = field(default_factory=list)
    self_tests: set[PhysicsTally] = field(default_factory=set)
    charges: list[NDArray[np.int32]] = field(default_factory=list)

    def find_id(self, row: int) -> str:
        """The id of a structure, numbered in plan order."""
        ends = np.cumsum([len(ids) for ids in self.ids])
        piece = int(np.searchsorted(ends, row, "right"))
        return self.ids[piece][row - int(ends[piece])]

    @property
    def counts_and_charges(self) -> NDArray[np.integer]:
        """What an energy is fitted by: all counts, and charges of either sign where there are any, shape (n, k) or (n, k + 2)."""
        return add_charges(np.concatenate(self.counts), np.concatenate(self.charges))


def gather_measures(parts: Iterable[tuple[PartMeasures, Sequence[int]]], sources: Iterable[str]) -> Measures:
    """The measures of a dataset from those of its parts, each with the indices of the structures that count; parts are taken one by one."""
    measures, numbers_of = Measures({name: SourceMeasures() for name in sources}, np.zeros(0, np.int64)), list[NDArray[np.int64]]()
    for part, kept in parts:
        own = measures.sources[part.source]
        _add_losses(own, part)
        measures.self_tests.add(part.self_test)
        measures.numbers = np.union1d(measures.numbers, part.numbers)
        if kept:
            _add_structures(measures, own, part, np.array(kept))
            numbers_of.append(part.numbers)
    for k, (counts, numbers) in enumerate(zip(measures.counts, numbers_of, strict=True)):
        measures.counts[k] = spread_counts(counts, numbers, measures.numbers)
    return measures


def spread_counts(counts: NDArray[np.uint16], numbers: NDArray[np.int64], all_numbers: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Counts of the elements `numbers`, ascending, as columns among those of all elements."""
    wide = np.zeros((len(counts), len(all_numbers)), np.uint16)
    wide[:, np.searchsorted(all_numbers, numbers)] = counts
    return wide


def _add_losses(own: SourceMeasures, part: PartMeasures) -> None:
    own.requested += part.requested
    own.generated += part.generated
    own.labelled += part.labelled
    own.refused_by_labeller += part.refused_by_labeller
    own.refused_by_limits += part.refused_by_limits
    own.generate_seconds += part.generate_seconds
    own.label_seconds += part.label_seconds
    own.n_calls += part.n_calls
    own.rejected.update(part.rejected)
    own.first_fault = own.first_fault or part.first_fault
    own.n_laws_tried += part.physics.n_tried
    own.broken_laws += part.physics.broken
    if part.note:
        own.notes.add(part.note)


def _add_structures(measures: Measures, own: SourceMeasures, part: PartMeasures, kept: NDArray[np.int64]) -> None:
    counts = part.counts[kept]
    own.kept += len(kept)
    own.sizes.append(counts.sum(axis=1, dtype=np.int32))
    own.atoms_of[part.numbers] += counts.sum(axis=0, dtype=np.int64)
    own.structures_with[part.numbers] += (counts > 0).sum(axis=0)
    own.compositions.append(part.compositions[kept])
    own.environments += [part.environments[i] for i in kept.tolist() if i in part.environments]
    own.makers[part.service] += len(kept)
    own.systems[part.system] += len(kept)
    measures.energies.append(part.energies[kept])
    measures.counts.append(counts)
    measures.charges.append(part.charges[kept])
    measures.names.append(part.source)
    measures.ids.append(part.ids.choose(kept))
    measures.largest_forces.append(part.largest_forces[kept])
    measures.pressures.append(part.pressures[kept])
    measures.contacts += [part.contacts[i] for i in kept.tolist() if i in part.contacts]


def merge_sources(sources: Iterable[SourceMeasures]) -> SourceMeasures:
    """The structures and elements of several sources together."""
    merged = SourceMeasures()
    for own in sources:
        merged.atoms_of = merged.atoms_of + own.atoms_of
        merged.structures_with = merged.structures_with + own.structures_with
        merged.kept += own.kept
    return merged
