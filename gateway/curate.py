"""Curation: every structure is checked before it is labelled; what is refused is recorded with its reason."""

from collections.abc import Iterable, Sequence

from distillery.schema.label import Reject
from distillery.structures.cells import restate
from distillery.structures.checks import Fault, find_fault
from distillery.structures.geometry import Neighbours
from distillery.structures.identity import HASH_CUTOFF, structure_hash
from distillery.structures.structure import Structure


def curate(structures: Iterable[Structure], elements: Sequence[str], atoms: tuple[int, int] | None) -> tuple[list[Structure], list[Reject]]:
    """The structures worth a label, and why the others are not; duplicates within the batch are refused too."""
    kept: list[Structure] = []
    rejected: list[Reject] = []
    seen: set[str] = set()
    for structure in map(restate, structures):
        neighbours = Neighbours(structure, HASH_CUTOFF)
        fault = find_fault(structure, elements, atoms, neighbours) or _find_twin(structure, neighbours, seen)
        if fault is None:
            kept.append(structure)
        else:
            rejected.append(Reject(id=structure.id, reason=fault.reason, detail=fault.detail, stage="curation"))
    return kept, rejected


def _find_twin(structure: Structure, neighbours: Neighbours, seen: set[str]) -> Fault | None:
    own = structure_hash(structure, neighbours)
    if own in seen:
        return Fault("duplicate", f"its structure hash {own} came before in this shard")
    seen.add(own)
    return None
