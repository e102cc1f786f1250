"""Labels as they are judged: what moves or turns a whole structure, or lies beyond a recipe's bounds, is refused."""

from collections.abc import Container
from dataclasses import dataclass, replace

from distillery.dataset.layout import Label
from distillery.dataset.parts import describe_label
from distillery.schema.label import ALWAYS, LabelledBatch, LabelLimits, LabelName, LabelRecord, Reject, TeacherCard
from distillery.structures.structure import Structure
from labeller.label_checks import find_atomic_fault, find_limit_fault, find_net_fault
from labeller.structure_queue import Outcome
from labeller.teachers.teacher import PhysicsTolerance


@dataclass(frozen=True)
class Made:
    """Structures with what the teacher said of them, and their hashes; the teacher's calls and time for it, s."""

    structures: list[Structure]
    outcomes: list[Outcome]
    hashes: list[str]
    n_calls: int
    seconds: float


@dataclass(frozen=True)
class Judged:
    """The same with labels that are refused turned into rejects; `refused_labels` has them, by id."""

    made: Made
    outcomes: list[Outcome]
    refused_labels: dict[str, Label]


def judge(made: Made, limits: LabelLimits | None, tolerance: PhysicsTolerance, wanted: Container[LabelName] = ALWAYS) -> Judged:
    """Refuse labels that move or turn the whole structure, lie beyond the recipe's bounds, or lack what is wanted.

    Energies of atoms that nobody wants are left out, and those of a label that is refused.
    """
    judged = Judged(made, [], {})
    for structure, outcome in zip(made.structures, made.outcomes, strict=True):
        if isinstance(outcome, Reject):
            judged.outcomes.append(outcome)
            continue
        plain = replace(outcome, atomic_energies=None)
        fault = find_net_fault(structure, outcome, tolerance) or (None if limits is None else find_limit_fault(outcome, limits))
        if fault is None and "atomic_energies" in wanted:
            plain, fault = outcome, find_atomic_fault(outcome)
        if fault is None:
            judged.outcomes.append(plain)
            continue
        judged.refused_labels[structure.id] = replace(outcome, atomic_energies=None)
        judged.outcomes.append(Reject(id=structure.id, reason=fault.reason, detail=fault.detail, stage="label"))
    return judged


def describe_labels(judged: Judged, refused: list[Reject], teacher: TeacherCard) -> LabelledBatch:
    """Sound labels, and what was refused before and after the teacher saw it."""
    rows = list(zip(judged.made.structures, judged.outcomes, strict=True))
    return LabelledBatch(
        teacher=teacher,
        labels=[LabelRecord.model_validate({"id": s.id, **describe_label(label)}) for s, label in rows if isinstance(label, Label)],
        rejected=[*refused, *(outcome for _, outcome in rows if isinstance(outcome, Reject))],
        label_seconds=judged.made.seconds,
    )
