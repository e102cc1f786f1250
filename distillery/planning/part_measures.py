"""Measures of a part: what gates want of its structures, and what was lost on the way to them."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from ase.units import GPa
from numpy.typing import NDArray

from distillery.dataset.layout import Arrays
from distillery.dataset.parts import Part
from distillery.planning.samples import Descriptors, describe_some, measure_contacts
from distillery.schema.label import PhysicsCheck, Receipt, Reject, SelfTest, ShardRecord
from distillery.structures.packed_texts import PackedTexts

_IN_GPA = 1 / GPa
"""GPa in an eV/Å³."""
REFUSED_BY_LIMITS = ("large_force", "large_pressure")
"""Reasons of the labeller for labels that are sound, but beyond the recipe's limits."""
_LONGEST_FAULT = 200
"""Characters of a teacher's words."""
TEACHER_FAULTS = (
    "teacher_failed",
    "teacher_crashed",
    "teacher_timeout",
    "not_finite_label",
    "wrong_shape",
    "out_of_memory",
    "net_force",
    "torque",
    "work",
)


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
    first_fault      id, reason and words of the first structure that the teacher failed on; empty if there is none
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
    first_fault: str = ""
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
        first_fault=next((_tell_fault(reject) for reject in receipt.rejected if _is_teachers_fault(reject.reason, record)), ""),
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


def _tell_fault(reject: Reject) -> str:
    """Where and why a teacher failed, in a line."""
    said = " ".join(reject.detail.split())
    return f"{reject.id}: {reject.reason}: {said if len(said) <= _LONGEST_FAULT else said[:_LONGEST_FAULT] + ' …'}"


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
