"""Curation: every structure is checked before it is labelled; what is refused is recorded with its reason."""

from collections.abc import Iterable, Sequence

from contract.checks import Fault, find_chemistry_fault, find_input_fault, find_size_fault
from contract.identity import structure_hash
from contract.messages import Reject
from contract.structures import Structure


def curate(structures: Iterable[Structure], elements: Sequence[str], atoms: tuple[int, int] | None) -> tuple[list[Structure], list[Reject]]:
    """The structures worth a label, and why the others are not; duplicates within the batch are refused too."""
    kept: list[Structure] = []
    rejected: list[Reject] = []
    seen: set[str] = set()
    for structure in structures:
        fault = find_fault(structure, elements, atoms) or _find_twin(structure, seen)
        if fault is None:
            kept.append(structure)
        else:
            rejected.append(Reject(id=structure.id, reason=fault.reason, detail=fault.detail, stage="curation"))
    return kept, rejected


def find_fault(structure: Structure, elements: Sequence[str], atoms: tuple[int, int] | None) -> Fault | None:
    """Why a structure is not worth a label, whatever the others are, or None."""
    size = find_size_fault(structure, *atoms) if atoms is not None else None
    return size or find_input_fault(structure, elements) or find_chemistry_fault(structure)


def _find_twin(structure: Structure, seen: set[str]) -> Fault | None:
    own = structure_hash(structure)
    if own in seen:
        return Fault("duplicate", f"its structure hash {own} came before in this shard")
    seen.add(own)
    return None
