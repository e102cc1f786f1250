"""Curation: every structure is checked before it is labelled; what is refused is recorded with its reason."""

from collections.abc import Iterable, Sequence

from distillery.schema.label import Reject
from distillery.structures.cells import restate
from distillery.structures.checks import Fault, find_fault
from distillery.structures.geometry import Neighbours
from distillery.structures.identity import HASH_CUTOFF, structure_hash
from distillery.structures.structure import Structure


def curate(
    structures: Iterable[Structure], elements: Sequence[str], atoms: tuple[int, int] | None, hashes: dict[str, str] | None = None
) -> tuple[list[Structure], list[Reject]]:
    """The structures worth a label, and why the others are not; duplicates within the batch are refused too.

    The structure hashes of those kept, which are made on the way, are put into `hashes` by id.
    """
    kept: list[Structure] = []
    rejected: list[Reject] = []
    seen: set[str] = set()
    for structure in map(restate, structures):
        neighbours = Neighbours(structure, HASH_CUTOFF)
        fault = find_fault(structure, elements, atoms, neighbours)
        own = structure_hash(structure, neighbours) if fault is None else ""
        if fault is None and own in seen:
            fault = Fault("duplicate", f"its structure hash {own} came before in this shard")
        if fault is not None:
            rejected.append(Reject(id=structure.id, reason=fault.reason, detail=fault.detail, stage="curation"))
            continue
        seen.add(own)
        kept.append(structure)
        if hashes is not None:
            hashes[structure.id] = own
    return kept, rejected
