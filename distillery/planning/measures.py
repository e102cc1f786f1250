"""Measures of a dataset, for its gates: every part is measured once, and the measures of structures that count are added up."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from ase.units import GPa
from numpy.typing import NDArray

from distillery.dataset.element_energies import add_charges, fit_shares
from distillery.dataset.layout import Arrays
from distillery.dataset.parts import Part
from distillery.planning.samples import Descriptors, describe_some, measure_contacts
from distillery.schema.label import PhysicsCheck, Receipt, SelfTest, ShardRecord
from distillery.structures.packed_texts import PackedTexts

_IN_GPA = 1 / GPa
"""GPa in an eV/Å³."""
_N_ELEMENTS = len(chemical_symbols)
REFUSED_BY_LIMITS = ("large_force", "large_pressure")
"""Reasons of the labeller for labels that are sound, but beyond the recipe's limits."""
TEACHER_FAULTS = (
    "teacher_failed",
    "teacher_crashed",
    "teacher_timeout",
    "not_finite_label",
    "wrong_shape",
    "out_of_memory",
    "net_force",
    "torque",
)
BEYOND_LIMITS = (*(f"label: {reason}" for reason in REFUSED_BY_LIMITS), "dataset: energy_outlier")


@dataclass(frozen=True)
class PhysicsTally:
    """Laws of physics that were tried on labels: how many times, and what was found where one is broken."""

    n_tried: int = 0
    broken: tuple[str, ...] = ()

    @classmethod
    def of(cls, checks: Iterable[PhysicsCheck]) -> "PhysicsTally":
        """Checks that could not be made do not count."""
        tried = [check for check in checks if check.passed is not None]
        return cls(len(tried), tuple(check.detail for check in tried if not check.passed))

    @classmethod
    def of_self_test(cls, test: SelfTest | None) -> "PhysicsTally":
        """The same of a teacher's self-test, if it had one."""
        return cls() if test is None else cls(sum(test.tried.values()), test.broken)


@dataclass(frozen=True, eq=False, kw_only=True)
class PartTotals:
    """A part in figures, however many structures it has; how it was made is empty where no receipt tells.

    rejected         by `<stage>: <reason>`
    n_bytes          of the file; `n_payload_bytes` of its structures and labels
    """

    source: str
    service: str
    system: str
    requested: int = 0
    generated: int = 0
    labelled: int
    refused_by_labeller: int = 0
    refused_by_limits: int = 0
    generate_seconds: float = 0.0
    label_seconds: float = 0.0
    n_calls: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    note: str = ""
    n_bytes: int = 0
    n_payload_bytes: int


@dataclass(frozen=True, eq=False, kw_only=True)
class PartMeasures(PartTotals):
    """The measures of a part that gates need.

    numbers          the elements that occur, shape (k,)
    counts           atoms of each of them, shape (n_structures, k)
    energies         eV, shape (n_structures,)
    largest_forces   eV/Å, shape (n_structures,)
    pressures        GPa, 0 where there is no stress, shape (n_structures,)
    compositions     a key of every structure's reduced composition, shape (n_structures,)
    contacts         shortest distance over sum of covalent radii, of a sample, by index of the structure
    environments     descriptors of some atoms of a smaller sample, shape (n, 63), by index of the structure
    charges          total, e, shape (n_structures,)
    """

    numbers: NDArray[np.int64]
    counts: NDArray[np.uint16]
    ids: PackedTexts
    energies: NDArray[np.float64]
    largest_forces: NDArray[np.float64]
    pressures: NDArray[np.float64]
    compositions: NDArray[np.uint64]
    contacts: dict[int, float]
    environments: dict[int, Descriptors]
    physics: PhysicsTally = PhysicsTally()
    self_test: PhysicsTally = PhysicsTally()
    charges: NDArray[np.int32]

    def add_up(self) -> PartTotals:
        """The figures without the structures."""
        return PartTotals(**{field.name: getattr(self, field.name) for field in fields(PartTotals)})


@dataclass
class SourceMeasures:
    """One source's structures in the dataset, and what was lost on the way to them.

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


def measure_part(part: Part, n_bytes: int) -> PartMeasures:
    """Measure all structures of a part whose file has `n_bytes`."""
    receipt, record = part.receipt, part.receipt.record
    return replace(
        measure_structures(part.arrays, record.source, record.service, record.system),
        requested=record.requested,
        generated=record.generated,
        refused_by_labeller=sum(_is_teachers_fault(reject.reason, record) for reject in receipt.rejected),
        refused_by_limits=sum(reject.reason in REFUSED_BY_LIMITS for reject in receipt.rejected),
        generate_seconds=record.generate_seconds,
        label_seconds=receipt.label_seconds,
        n_calls=receipt.n_calls or receipt.n_structures,
        rejected=_count_rejects(receipt),
        note=record.note,
        n_bytes=n_bytes,
        physics=PhysicsTally.of(receipt.physics),
        self_test=PhysicsTally.of_self_test(receipt.teacher.self_test),
    )


def measure_structures(arrays: Arrays, source: str, service: str, system: str) -> PartMeasures:
    """Measure structures of one source by their columns alone."""
    splits = arrays["structures/atomic_numbers_splits"]
    numbers, counts = _count_elements(arrays)
    return PartMeasures(
        source=source,
        service=service,
        system=system,
        labelled=len(counts),
        n_payload_bytes=sum(_count_bytes(array) for array in arrays.values()),
        numbers=numbers,
        counts=counts,
        ids=PackedTexts(arrays["provenance/id"]),
        energies=arrays["labels/energy"],
        largest_forces=_find_largest_forces(arrays["labels/forces"], splits),
        pressures=-_IN_GPA * arrays["labels/stress"][:, :3].mean(axis=1),
        compositions=np.array([_key_composition(numbers, row) for row in counts], np.uint64),
        contacts=measure_contacts(arrays, len(counts)),
        environments=describe_some(arrays, len(counts)),
        charges=arrays.get("structures/charges", np.zeros(len(counts))).astype(np.int32),
    )


def _is_teachers_fault(reason: str, record: ShardRecord) -> bool:
    """Whether the teacher is to blame: not for labels beyond the recipe's limits, nor for what sampling did to a structure."""
    return reason in TEACHER_FAULTS or (record.sample is None and reason not in REFUSED_BY_LIMITS)


def _count_rejects(receipt: Receipt) -> Counter[str]:
    rejected = Counter({f"generation: {reason}": count for reason, count in receipt.record.service_rejected.items()})
    rejected.update(f"{reject.stage}: {reject.reason}" for reject in (*receipt.record.rejected, *receipt.rejected))
    return rejected


def _count_bytes(array: NDArray[Any]) -> int:
    return sum(len(text) for text in array) if array.dtype == object else array.nbytes


def _count_elements(arrays: Arrays) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    n_atoms = np.diff(arrays["structures/atomic_numbers_splits"])
    numbers, columns = np.unique(arrays["structures/atomic_numbers"], return_inverse=True)
    counts = np.zeros((len(n_atoms), len(numbers)), np.uint16)
    np.add.at(counts, (np.repeat(np.arange(len(n_atoms)), n_atoms), columns), 1)
    return numbers, counts


def _find_largest_forces(forces: NDArray[np.float32], splits: NDArray[np.int64]) -> NDArray[np.float64]:
    if len(splits) == 1:
        return np.zeros(0)
    largest: NDArray[np.float64] = np.maximum.reduceat(np.linalg.norm(forces.astype(np.float64), axis=1), splits[:-1])
    return largest


def _key_composition(numbers: NDArray[np.int64], counts: NDArray[np.uint16]) -> int:
    present = counts > 0
    reduced = np.stack([numbers[present], counts[present] // np.gcd.reduce(counts)]).astype("<i8")
    return int.from_bytes(hashlib.blake2b(reduced.tobytes(), digest_size=8).digest(), "little")


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


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Shannon entropy of a distribution given by counts, bits; 0 for none."""
    share = counts[counts > 0] / max(counts.sum(), 1)
    return float(-(share * np.log2(share)).sum()) + 0.0


def entropy_ceiling(n_elements: int, hydrogen_share: float | None = None) -> float:
    """The largest entropy of n elements, bits; where hydrogen, one of them, has this share of the atoms, the others being uniform."""
    if n_elements <= 1:
        return 0.0
    if hydrogen_share is None:
        return float(np.log2(n_elements))
    groups = ((hydrogen_share, 1), (1 - hydrogen_share, n_elements - 1))
    return float(sum(-share * np.log2(share / n) for share, n in groups if share > 0))


def energy_residuals(energies: NDArray[np.float64], counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Energy per atom left over after a least-squares fit of one energy an element, eV/atom, shape (n,)."""
    shares = counts[:, counts.any(axis=0)].astype(np.float64)
    n_atoms = shares.sum(axis=1)
    shares /= n_atoms[:, None]
    per_atom = energies / n_atoms
    residuals: NDArray[np.float64] = per_atom - shares @ fit_shares(shares, per_atom, np.ones(len(per_atom)))
    return residuals


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from the median in units of 1.4826 times the median absolute deviation, shape (n,)."""
    deviation = np.abs(values - np.median(values))
    scale = 1.4826 * np.median(deviation)
    z: NDArray[np.float64] = deviation / scale if scale > 0 else np.where(deviation > 0, np.inf, 0.0)
    return z
